// One stop of the Tab key for a row of buttons, in which arrow keys, Home and End move.
export function roving(row, forward, backward, arrived = () => {}) {
  row.addEventListener("keydown", (event) => {
    const buttons = [...row.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    if (at < 0) return;
    let to;
    if (forward.includes(event.key)) to = Math.min(at + 1, buttons.length - 1);
    else if (backward.includes(event.key)) to = Math.max(at - 1, 0);
    else if (event.key === "Home") to = 0;
    else if (event.key === "End") to = buttons.length - 1;
    else return;
    event.preventDefault();
    buttons[to].focus();
    arrived(buttons[to]);
  });
  row.addEventListener("focusin", (event) => {
    for (const button of row.querySelectorAll("button")) button.tabIndex = button === event.target ? 0 : -1;
  });
}
