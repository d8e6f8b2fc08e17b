// What every page has: the choice of colours.
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
