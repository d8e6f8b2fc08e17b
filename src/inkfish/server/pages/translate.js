// The Translate page.
import { get, post } from "./ask.js";
import { $, tell } from "./elements.js";
import { models } from "./settings.js";

const names = new Intl.DisplayNames(["en"], { type: "language" });

async function begin() {
  await models($("model"));
  const { languages } = await get("/translate/languages");
  for (const id of ["source", "target"]) $(id).replaceChildren(...languages.map((code) => new Option(names.of(code), code)));
  $("target").value = languages.find((code) => code !== $("source").value);
}

$("swap").addEventListener("click", () => { [$("source").value, $("target").value] = [$("target").value, $("source").value]; });
$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  tell(null);
  $("status").textContent = "…";
  try {
    const body = { model: $("model").value, text: $("text").value, source: $("source").value, target: $("target").value, shots: Number($("shots").value) };
    const done = await post("/translate/text", body);
    $("done").textContent = done.text;
    const sentences = `${done.sentences} ${done.sentences === 1 ? "sentence" : "sentences"}`;
    $("status").textContent = done.cut ? `${sentences}, ${done.cut} of them cut at the limit` : sentences;
  } catch (error) { tell(error); $("status").textContent = ""; }
});
begin().catch(tell);
