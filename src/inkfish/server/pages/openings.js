// On the Label page of a server that has models: openings become texts to choose from.
import { post } from "./ask.js";
import { $ } from "./elements.js";
import { models } from "./settings.js";

let offered = false;

// Shows the form, open where there is nothing else to do; `added` is called once there is more to label.
export function offer(open, added) {
  if (offered) return;
  offered = true;
  $("more").hidden = false;
  $("more").open = open;
  models($("model")).catch((error) => { $("more-said").textContent = error.message; });
  $("more-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const openings = $("openings").value.split("\n").map((line) => line.trim()).filter(Boolean);
    const button = $("more-form").querySelector("button");
    button.disabled = true;
    $("more-said").textContent = "writing…";
    try {
      const done = await post("/label/write", { model: $("model").value, openings });
      $("more-said").textContent = `${done.added} new ${done.added === 1 ? "text" : "texts"} to label`;
      $("openings").value = "";
      $("more").open = false;
      added();
    } catch (error) { $("more-said").textContent = error.message; }
    button.disabled = false;
  });
}
