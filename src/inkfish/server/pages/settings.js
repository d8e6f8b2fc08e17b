// The settings of writing: sliders with boxes beside them, presets, kept in the browser. Shared by pages.
import { get } from "./ask.js";
import { element } from "./elements.js";

export const SLIDERS = [
  { name: "max_tokens", label: "Length", hint: "tokens", min: 1, max: 500, step: 1, value: 100 },
  { name: "temperature", label: "Temperature", hint: "tame to wild", min: 0, max: 2, step: 0.05, value: 0.8 },
  { name: "top_p", label: "Top p", hint: "1 is off", min: 0, max: 1, step: 0.01, value: 0.95 },
  { name: "top_k", label: "Top k", hint: "0 is off", min: 0, max: 200, step: 1, value: 0 },
  { name: "min_p", label: "Min p", hint: "0 is off", min: 0, max: 1, step: 0.01, value: 0 },
  { name: "repetition_penalty", label: "Repetition penalty", hint: "1 is off", min: 1, max: 2, step: 0.05, value: 1 },
];

export const PRESETS = {
  balanced: { label: "Balanced", temperature: 0.8, top_p: 0.95, top_k: 0, min_p: 0, repetition_penalty: 1 },
  careful: { label: "Careful", temperature: 0.5, top_p: 0.9, top_k: 0, min_p: 0, repetition_penalty: 1.1 },
  wild: { label: "Wild", temperature: 1.15, top_p: 1, top_k: 0, min_p: 0.05, repetition_penalty: 1 },
  openai: { label: "As OpenAI’s GPT-2 samples", temperature: 1, top_p: 1, top_k: 40, min_p: 0, repetition_penalty: 1 },
  pure: { label: "The model’s own distribution", temperature: 1, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1 },
  likeliest: { label: "Always the likeliest", temperature: 0, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1 },
};

// Puts sliders into `place`; returns { values(), set(values) }; `changed` is called when a person moves one.
export function sliders(place, chosen, changed) {
  const boxes = {};
  const parts = SLIDERS.filter((each) => chosen.includes(each.name)).map((each) => {
    const { name, label, hint, min, max, step, value } = each;
    const bounds = { min, max, step, value };
    const range = element("input", { type: "range", ...bounds, id: `${name}-slider` });
    const box = element("input", { type: "number", ...bounds, id: name });
    range.setAttribute("aria-label", `${label}, slider`);
    const caption = element("label", { htmlFor: name, textContent: `${label} ` });
    caption.append(element("span", { className: "hint", textContent: hint }));
    range.addEventListener("input", () => { box.value = range.value; changed(); });
    box.addEventListener("input", () => { if (box.value !== "" && box.checkValidity()) { range.value = box.value; changed(); } });
    box.addEventListener("blur", () => { if (box.value === "" || !box.checkValidity()) box.value = range.value; });
    boxes[name] = { range, box };
    const row = element("div", { className: "slider" });
    row.append(caption, range, box);
    return row;
  });
  place.replaceChildren(...parts);
  return {
    values: () => Object.fromEntries(Object.entries(boxes).map(([name, { range }]) => [name, Number(range.value)])),
    set: (values) => {
      for (const [name, { range, box }] of Object.entries(boxes)) {
        if (Number.isFinite(values[name])) { range.value = values[name]; box.value = range.value; }
      }
    },
  };
}

export function presets(select, knobs, changed) {
  const custom = new Option("Your own", "own");
  select.replaceChildren(...Object.entries(PRESETS).map(([name, { label }]) => new Option(label, name)), custom);
  select.addEventListener("change", () => { if (PRESETS[select.value]) { knobs.set(PRESETS[select.value]); changed(); } });
  return {
    notice: () => {
      const now = knobs.values();
      const same = ([, preset]) => Object.entries(now).every(([name, value]) => !(name in preset) || preset[name] === value);
      select.value = Object.entries(PRESETS).find(same)?.[0] ?? "own";
    },
  };
}

export async function models(select, wanted) {
  const { data } = await get("/v1/models");
  select.replaceChildren(...data.map((model) => new Option(model.id, model.id)));
  if (data.some((model) => model.id === wanted)) select.value = wanted;
}

export function kept(key, fallback) {
  try { return { ...fallback, ...JSON.parse(localStorage.getItem(key) ?? "{}") }; } catch { return fallback; }
}

export function keep(key, value) {
  try { localStorage.setItem(key, JSON.stringify(value)); return true; } catch { return false; }
}

export function download(name, content, type) {
  const link = element("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
