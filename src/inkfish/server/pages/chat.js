// The Chat page: a persona, turns with other answers to choose from, branches by editing an earlier message.
import { get, post, stream } from "./ask.js";
import { $, element, tell } from "./elements.js";
import { download, keep, kept, models, sliders } from "./settings.js";

const KEY = "inkfish.chat";
const EDIT = "Say something else here";
const state = { persona: "", turns: [], model: "", values: {}, ...kept(KEY, {}) };
// A turn is { role, versions: [{ text, rest }], chosen }; rest is what followed a version that is not chosen now.
let controller = null;

const knobs = sliders($("sliders"), ["temperature", "top_p"], save);
knobs.set({ temperature: 0.7, top_p: 0.9, ...state.values });

function save() {
  state.persona = $("persona").value;
  state.model = $("model").value || state.model;
  state.values = knobs.values();
  keep(KEY, state);
}

function said(turn) { return turn.versions[turn.chosen].text; }

function messages(turns = state.turns) {
  const persona = $("persona").value.trim();
  return [...(persona ? [{ role: "system", content: persona }] : []), ...turns.map((turn) => ({ role: turn.role, content: said(turn) }))];
}

function busy(is) {
  $("stop").hidden = !is;
  $("retry").disabled = is || !state.turns.length;
}

function tool(label, title, act) {
  const button = element("button", { type: "button", className: "quiet", textContent: label });
  button.setAttribute("aria-label", title);
  button.addEventListener("click", act);
  return button;
}

function choose(i, version) {
  const turn = state.turns[i];
  turn.versions[turn.chosen].rest = state.turns.slice(i + 1);
  turn.chosen = (version + turn.versions.length) % turn.versions.length;
  state.turns = [...state.turns.slice(0, i + 1), ...(turn.versions[turn.chosen].rest ?? [])];
  const pressed = document.activeElement?.getAttribute("aria-label");
  show();
  focusTool(i, pressed);
}

// The turns are made anew when something changes: who moves by keyboard stays where they were.
function focusTool(i, label) {
  [...$("turns").children[i].querySelectorAll("button")].find((one) => one.getAttribute("aria-label") === label)?.focus();
}

function edit(i) {
  const turn = state.turns[i];
  const place = $("turns").children[i];
  const box = element("input", { value: said(turn), className: "grow", ariaLabel: "Say instead" });
  const form = element("form", { className: "row" }, box, element("button", { type: "submit", textContent: "Say this" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = box.value.trim();
    if (!text || text === said(turn)) { show(); return; }
    turn.versions[turn.chosen].rest = state.turns.slice(i + 1);
    turn.versions.push({ text });
    turn.chosen = turn.versions.length - 1;
    state.turns = state.turns.slice(0, i + 1);
    show();
    answer();
  });
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") { show(); focusTool(i, EDIT); } });
  place.replaceChildren(form);
  box.focus();
}

function show() {
  save();
  $("empty").hidden = state.turns.length > 0;
  $("suggestions").replaceChildren();
  $("turns").replaceChildren(...state.turns.map((turn, i) => {
    const item = element("li", { className: `turn ${turn.role}` }, element("span", { textContent: said(turn) }));
    const tools = element("div", { className: "tools" });
    if (turn.versions.length > 1) {
      tools.append(tool("‹", "Earlier version", () => choose(i, turn.chosen - 1)), `${turn.chosen + 1} of ${turn.versions.length}`, tool("›", "Later version", () => choose(i, turn.chosen + 1)));
    }
    if (turn.role === "user") tools.append(tool("Edit", EDIT, () => edit(i)));
    if (tools.childNodes.length) item.append(tools);
    return item;
  }));
  busy(false);
  $("turns").lastElementChild?.scrollIntoView({ block: "nearest" });
}

async function answer() {
  tell(null);
  let last = state.turns.at(-1);
  const again = last?.role === "assistant";
  const before = again ? state.turns.slice(0, -1) : [...state.turns];
  if (!before.length) return;
  if (again) { last.versions.push({ text: "" }); last.chosen = last.versions.length - 1; }
  else { last = { role: "assistant", versions: [{ text: "" }], chosen: 0 }; state.turns.push(last); }
  show();
  busy(true);
  const place = $("turns").lastElementChild.firstChild;
  controller = new AbortController();
  const body = { model: $("model").value, messages: messages(before), truncation: "auto", max_tokens: 60, ...knobs.values() };
  try {
    for await (const chunk of stream("/v1/chat/completions", body, controller.signal)) {
      last.versions[last.chosen].text += chunk.choices[0]?.delta.content ?? "";
      place.textContent = said(last);
    }
  } catch (error) { if (error.name !== "AbortError") tell(error); }
  const silent = !said(last) && !controller.signal.aborted;
  if (!said(last)) {
    last.versions.splice(last.chosen, 1);
    last.chosen = last.versions.length - 1;
    if (!last.versions.length) state.turns.pop();
  }
  show();
  if (silent && !$("trouble").textContent) tell("The model said nothing. “Another answer” asks it again.");
  $("say").focus();
}

async function suggest() {
  tell(null);
  $("suggest").disabled = true;
  try {
    const { suggestions } = await post("/chat/suggest", { model: $("model").value, messages: messages(), n: 3 });
    if (!suggestions.length) tell("Nothing came to the model’s mind. Try again.");
    $("suggestions").replaceChildren(...suggestions.map((text) => {
      const button = element("button", { type: "button", textContent: text });
      button.addEventListener("click", () => { $("say").value = text; $("suggestions").replaceChildren(); $("say").focus(); });
      return button;
    }));
    $("suggestions").querySelector("button")?.focus();
  } catch (error) { tell(error); }
  $("suggest").disabled = false;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("say").value.trim();
  if (!text || controller?.signal.aborted === false && !$("stop").hidden) return;
  $("say").value = "";
  state.turns.push({ role: "user", versions: [{ text }], chosen: 0 });
  show();
  answer();
});
$("stop").addEventListener("click", () => controller?.abort());
$("retry").addEventListener("click", answer);
$("suggest").addEventListener("click", suggest);
$("clear").addEventListener("click", () => { state.turns = []; show(); $("say").focus(); });
$("save").addEventListener("click", () => download("chat.json", JSON.stringify({ persona: $("persona").value, messages: messages() }, null, 2), "application/json"));
$("persona").addEventListener("input", save);
$("other").addEventListener("click", async () => {
  const { personas } = await get("/chat/personas");
  $("persona").value = personas[Math.floor(Math.random() * personas.length)].join(" ");
  save();
});
$("persona").value = state.persona;
show();
models($("model"), state.model).catch(tell);
