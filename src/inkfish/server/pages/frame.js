// What every page has: the choice of colours, and a navigation that shows where one is.
const names = { "": "as the system has them", light: "light", dark: "dark" };
const order = ["", "light", "dark"];
const button = document.getElementById("theme");

function show(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  button.setAttribute("aria-label", `Colours: ${names[theme]}`);
  button.title = `Colours: ${names[theme]}`;
}

let theme = localStorage.getItem("theme") ?? "";
if (!order.includes(theme)) theme = "";
show(theme);
button.addEventListener("click", () => {
  theme = order[(order.indexOf(theme) + 1) % order.length];
  localStorage.setItem("theme", theme);
  show(theme);
});

// On a phone the navigation is one row that scrolls: the page that is open shall be seen in it.
const here = document.querySelector("nav [aria-current]");
if (here) {
  const row = here.parentElement;
  row.scrollLeft = here.offsetLeft - row.offsetLeft - (row.clientWidth - here.offsetWidth) / 2;
}
