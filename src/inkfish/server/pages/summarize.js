// The Summarize page.
import { post } from "./ask.js";
import { $, tell } from "./elements.js";
import { models } from "./settings.js";


async function summarize() {
  tell(null);
  if (!$("text").value.trim()) { tell(new Error("there is no text yet")); return; }
  $("status").textContent = "…";
  try {
    const body = { model: $("model").value, text: $("text").value, form: $("kind").value, sentences: Number($("sentences").value), seed: Number($("seed").value) };
    const done = await post("/summarize/text", body);
    $("done").textContent = done.text || "(the model had nothing to say)";
    $("status").textContent = done.read < done.of ? `The model read the first ${done.read.toLocaleString("en")} of ${done.of.toLocaleString("en")} tokens: more does not fit.` : "";
  } catch (error) { tell(error); $("status").textContent = ""; }
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); summarize(); });
$("again").addEventListener("click", () => { $("seed").value = String(Number($("seed").value) + 1); summarize(); });
models($("model")).catch(tell);
