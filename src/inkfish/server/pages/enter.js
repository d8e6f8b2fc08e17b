// The door: sends the key, and goes on to the page that was wanted.
const wrong = document.getElementById("wrong");

document.getElementById("enter").addEventListener("submit", async (event) => {
  event.preventDefault();
  wrong.textContent = "";
  const body = JSON.stringify({ key: document.getElementById("key").value });
  const answer = await fetch("/enter", { method: "POST", headers: { "content-type": "application/json" }, body });
  if (answer.ok) location.assign(location.pathname === "/enter" ? "/" : location.pathname);
  else wrong.textContent = (await answer.json()).error.message;
});
