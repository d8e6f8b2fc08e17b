// The Compare page: one opening, two sides.
import { post, stream } from "./ask.js";
import { $, element, tell } from "./elements.js";
import { models, sliders } from "./settings.js";

const SIDES = ["Left", "Right"];
let controller = null;

const sides = SIDES.map((name, i) => {
  const model = element("select", { id: `model-${i}` });
  const place = element("div", {});
  const out = element("p", { className: "writing out", id: `out-${i}` });
  const status = element("p", { className: "faint", id: `status-${i}` });
  status.setAttribute("role", "status");
  const section = element("section", { className: "card" }, element("h2", { textContent: name }), element("label", { htmlFor: `model-${i}`, textContent: "Model" }), model, place, out, status);
  section.setAttribute("aria-label", name);
  $("pair").append(section);
  const knobs = sliders(place, ["temperature", "top_p", "top_k"], () => {});
  for (const input of place.querySelectorAll("input, label")) {
    if (input.id) input.id += `-${i}`;
    if (input.htmlFor) input.htmlFor += `-${i}`;
    if (input.type === "range") input.setAttribute("aria-label", `${name}: ${input.getAttribute("aria-label")}`);
  }
  return { model, knobs, out, status };
});
sides[1].knobs.set({ temperature: 1.1 });

async function write(side, signal) {
  const prompt = $("text").value;
  const body = { model: side.model.value, prompt, seed: Number($("seed").value), max_tokens: Number($("length").value), slide: true, ...side.knobs.values() };
  side.out.replaceChildren(element("strong", { textContent: prompt }));
  const began = performance.now();
  let tokens = 0, text = "";
  for await (const chunk of stream("/v1/completions", { ...body, stream_options: { include_usage: true } }, signal)) {
    for (const choice of chunk.choices) { text += choice.text; side.out.append(choice.text); }
    tokens = chunk.usage?.completion_tokens ?? tokens;
  }
  const pace = `${(tokens / (performance.now() - began) * 1000).toFixed(0)} tokens/s`;
  const score = await post("/score", { model: body.model, text: prompt + text }, signal);
  side.status.textContent = `${tokens} tokens · ${pace} · perplexity ${score.perplexity?.toFixed(1) ?? "–"} to this model`;
}

async function compare() {
  tell(null);
  controller?.abort();
  controller = new AbortController();
  const mine = controller;
  $("stop").hidden = false;
  for (const side of sides) side.status.textContent = "…";
  const done = await Promise.allSettled(sides.map((side) => write(side, mine.signal)));
  for (const [i, result] of done.entries()) {
    if (result.status === "fulfilled") continue;
    sides[i].status.textContent = "";
    if (result.reason.name !== "AbortError") tell(result.reason);
  }
  if (mine === controller) $("stop").hidden = true;
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); compare(); });
$("next").addEventListener("click", () => { $("seed").value = String(Number($("seed").value) + 1); compare(); });
$("stop").addEventListener("click", () => controller?.abort());
Promise.all(sides.map((side) => models(side.model))).catch(tell);
