// What the scripts of pages share: elements by their id, new elements, and the line where errors are told.
export const $ = (id) => document.getElementById(id);

export function element(kind, properties, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

export function tell(error) { $("trouble").textContent = error ? error.message ?? String(error) : ""; }
