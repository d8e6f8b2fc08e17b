// The Write page: one box, completions at the cursor, alternatives, suggestions, and every version kept.
import { stream } from "./ask.js";
import { $, element, tell } from "./elements.js";
import { Reader } from "./listen.js";
import { roving } from "./roving.js";
import { PRESETS, download, keep, kept, models, presets, sliders } from "./settings.js";
import { Versions } from "./versions.js";

const OPENINGS = [
  "Once upon a time, in a village by the sea,",
  "Dear diary, today the lighthouse keeper",
  "The old clock struck thirteen, and",
  "There was a fox who could not lie.",
  "It is a truth seldom spoken that",
];
const SEEN = 6000;       // characters before the cursor that are sent: more than any GPT-2 sees
const SUGGESTED = 3;     // of six that are written: some may be alike, or nothing
const KEY = "inkfish.write";
const box = $("text");
let controller = null;
let suggesting = null;   // { at, texts, chosen }
let freeTab = false;
let versions = new Versions();
let editTimer = 0;
let lastSeed = null;

// --- settings

const knobs = sliders($("sliders"), ["max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"], changed);
$("sliders").append(numberOfAlternatives());
$("finer-sliders").append(...["top_p", "top_k", "min_p", "repetition_penalty"].map((name) => $(name).parentElement));
const styles = presets($("preset"), knobs, changed);

function numberOfAlternatives() {
  const row = element("div", { className: "slider" });
  row.append(
    element("label", { htmlFor: "n", textContent: "Alternatives" }),
    element("input", { type: "range", min: 1, max: 5, step: 1, value: 1, id: "n-slider", ariaLabel: "Alternatives, slider" }),
    element("input", { type: "number", min: 1, max: 5, step: 1, value: 1, id: "n" }),
  );
  return row;
}
const nRange = $("n-slider"), nBox = $("n");
nRange.addEventListener("input", () => { nBox.value = nRange.value; changed(); });
nBox.addEventListener("input", () => { if (nBox.value !== "" && nBox.checkValidity()) { nRange.value = nBox.value; changed(); } });
nBox.addEventListener("blur", () => { nBox.value = nRange.value; });

function changed() { styles.notice(); save(); }

function settings() {
  const stop = $("stops").value.split("\n").filter(Boolean).slice(0, 4);
  return { model: $("model").value, ...knobs.values(), ...(stop.length ? { stop } : {}) };
}

function seed() {
  const typed = $("seed").value.trim();
  if (!typed) return null;
  const number = Number(typed);
  if (!Number.isSafeInteger(number)) throw new Error("the seed must be a whole number");
  return number;
}

// --- versions

function noteEdit() {
  clearTimeout(editTimer);
  editTimer = 0;
  const { here } = versions;
  if (here.text === box.value) return;
  if (here.label === "typed" && !here.children.length) Object.assign(here, { text: box.value, caret: box.selectionEnd });
  else goTo(versions.add(box.value, box.selectionEnd, "typed"), false);
  save();
  showTree();
}

function goTo(id, fill = true) {
  const here = versions.go(id);
  if (fill) {
    box.value = here.text;
    box.setSelectionRange(here.caret, here.caret);
    count();
    save();
    showTree();
  }
  $("undo").disabled = !here.parent;
  $("redo").disabled = !here.children.length;
}

function undo() {
  noteEdit();
  const { parent } = versions.here;
  if (parent) goTo(parent);
  box.focus();
}

function redo() {
  if (versions.next) goTo(versions.next);
  box.focus();
}

function showTree() {
  const branch = (ids) => {
    const list = element("ul", {});
    for (let id of ids) {
      // a run of only children stays on one level, so that long texts are not nested deeply
      for (;;) {
        const each = versions.all.get(id);
        const mine = id;
        const button = element("button", { type: "button", textContent: versions.summary(each) });
        if (id === versions.current) button.setAttribute("aria-current", "true");
        button.addEventListener("click", () => { noteEdit(); goTo(mine); $("tree").querySelector("[aria-current]").focus(); });
        const item = element("li", {}, button);
        list.append(item);
        if (each.children.length === 1) { id = each.children[0]; continue; }
        if (each.children.length) item.append(branch(each.children));
        break;
      }
    }
    return list;
  };
  $("tree").replaceChildren(branch([versions.root.id]));
}

// --- kept in the browser

function save() {
  const state = {
    text: box.value, caret: box.selectionEnd, ...knobs.values(), n: Number(nRange.value), model: $("model").value,
    seed: $("seed").value, stops: $("stops").value, ...versions.kept(),
  };
  if (!keep(KEY, state)) keep(KEY, { ...state, nodes: [], current: 0 });
}

function restore() {
  const own = kept(KEY, {}), shared = fromLink();
  const state = shared ?? own;
  knobs.set({ ...PRESETS.balanced, ...state });
  if (state.n) nRange.value = nBox.value = state.n;
  $("seed").value = state.seed ?? "";
  $("stops").value = state.stops ?? "";
  versions = new Versions(own);
  // the text of a link is one more version: undo brings back what stood here
  for (const [text, label] of [[own.text ?? "", "typed"], [state.text ?? "", "from a link"]]) {
    if (versions.here.text !== text) versions.go(versions.add(text, text.length, label));
  }
  box.value = versions.here.text;
  goTo(versions.current, false);
  box.setSelectionRange(box.value.length, box.value.length);
  styles.notice();
  count();
  showTree();
  return state.model;
}

function fromLink() {
  if (!location.hash.startsWith("#share=")) return null;
  try {
    const state = JSON.parse(decodeURIComponent(location.hash.slice(7)));
    history.replaceState(null, "", location.pathname);
    return typeof state.text === "string" ? state : null;
  } catch { return null; }
}

// --- writing

function count() {
  const words = box.value.trim() ? box.value.trim().split(/\s+/).length : 0;
  $("words").textContent = `${words.toLocaleString("en")} ${words === 1 ? "word" : "words"}`;
  $("sees").textContent = box.selectionEnd > SEEN ? `· the model reads the last ${SEEN.toLocaleString("en")} characters before the cursor at most` : "";
  $("examples").hidden = Boolean(box.value);
}

function before(caret) {
  const start = Math.max(0, caret - SEEN);
  return box.value.slice(start, caret);
}

function busy(is) {
  $("stop").hidden = !is;
  $("complete").disabled = is;
}

// Streams n continuations of what stands before the cursor; `show(index, text)` is called as they grow.
async function continuations(body, show) {
  controller?.abort();
  const mine = controller = new AbortController();
  busy(true);
  tell(null);
  const texts = Array(body.n).fill("");
  const began = performance.now();
  let tokens = 0, first = 0;
  const pace = () => {
    const seconds = (performance.now() - first) / 1000;
    $("status").textContent = tokens > 1 && seconds > 0 ? `${((tokens - body.n) / seconds).toFixed(0)} tokens/s` : "…";
  };
  try {
    for await (const chunk of stream("/v1/completions", { ...body, stream_options: { include_usage: true } }, mine.signal)) {
      if (!suggesting) lastSeed = chunk.seed;
      for (const choice of chunk.choices) {
        first ||= performance.now();
        tokens += 1;
        texts[choice.index] += choice.text;
        show(choice.index, texts[choice.index]);
      }
      if (chunk.usage) tokens = chunk.usage.completion_tokens;
      pace();
    }
    const seconds = (performance.now() - began) / 1000;
    $("status").textContent = `${tokens} tokens in ${seconds.toFixed(1)} s · ${(tokens / seconds).toFixed(0)} tokens/s`;
  } catch (error) {
    if (error.name !== "AbortError") tell(error);
    else if (controller === mine) $("status").textContent = `stopped after ${tokens} tokens`;
  }
  if (controller === mine) { controller = null; busy(false); }
  if (lastSeed !== null) {
    $("again").hidden = $("seed").value === String(lastSeed);
    $("again").textContent = `Use ${lastSeed} again`;
  }
  return texts;
}

async function complete() {
  dismiss();
  noteEdit();
  $("alternatives").replaceChildren();
  let chosen;
  try { chosen = seed(); } catch (error) { tell(error); return; }
  const n = Number(nRange.value);
  const caret = box.selectionEnd;
  const body = { ...settings(), prompt: before(caret), n, slide: true, ...(chosen === null ? {} : { seed: chosen }) };
  if (n === 1) await completeHere(body, caret);
  else await completeBeside(body, caret);
}

async function completeHere(body, caret) {
  const [head, tail] = [box.value.slice(0, caret), box.value.slice(caret)];
  box.readOnly = true;
  const [text] = await continuations(body, (_, grown) => {
    box.value = head + grown + tail;
    box.scrollTop = tail ? box.scrollTop : box.scrollHeight;
  });
  box.readOnly = false;
  if (text) goTo(branch(caret, text, "written", head, tail));
  box.focus();
}

function branch(caret, text, label, head = box.value.slice(0, caret), tail = box.value.slice(caret)) {
  return versions.add(head + text + tail, caret + text.length, label);
}

async function completeBeside(body, caret) {
  const text = box.value;
  const cards = Array.from({ length: body.n }, (_, i) => {
    const card = element("button", { type: "button", className: "alternative", textContent: "…" });
    card.dataset.number = `${i + 1}`;
    card.addEventListener("click", () => {
      if (!card.dataset.text) return;
      noteEdit();
      // the others stay as branches
      const made = cards.map((each, k) => each.dataset.text ? branch(caret, each.dataset.text, `alternative ${k + 1}`) : 0);
      goTo(made[i]);
      $("alternatives").replaceChildren();
      controller?.abort();
      box.focus();
    });
    return card;
  });
  $("alternatives").replaceChildren(...cards);
  await continuations(body, (index, grown) => { cards[index].textContent = grown.trimStart(); cards[index].dataset.text = grown; });
  if (box.value === text && cards[0].isConnected) cards[0].focus();
}

// --- suggestions

async function suggest() {
  noteEdit();
  const caret = box.selectionEnd;
  const mine = suggesting = { at: caret, texts: [], chosen: 0 };
  showSuggestions();
  const body = { ...settings(), prompt: before(caret), n: 6, slide: true, max_tokens: 14, stop: ["\n\n"] };
  const texts = await continuations(body, () => {});
  if (suggesting !== mine) return;
  mine.texts = [...new Set(texts.map((text) => text.replace(/(\S)\s+\S*$/, "$1")).filter((text) => text.trim()))].slice(0, SUGGESTED);
  if (!mine.texts.length) dismiss();
  else showSuggestions();
}

function showSuggestions() {
  const list = $("suggestions");
  list.hidden = false;
  if (!suggesting.texts.length) { list.replaceChildren(element("p", { className: "hint", textContent: " thinking…" })); return; }
  list.replaceChildren(...suggesting.texts.map((text, i) => {
    const option = element("button", { type: "button", textContent: text, tabIndex: -1, id: `suggestion-${i}` });
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", String(i === suggesting.chosen));
    option.addEventListener("mousedown", (event) => event.preventDefault());
    option.addEventListener("click", () => take(i));
    return option;
  }));
  box.setAttribute("aria-activedescendant", `suggestion-${suggesting.chosen}`);
}

function take(i) {
  const { at, texts } = suggesting;
  dismiss();
  goTo(branch(at, texts[i], "suggestion"));
  box.focus();
}

function dismiss() {
  suggesting = null;
  $("suggestions").hidden = true;
  box.removeAttribute("aria-activedescendant");
}

function suggestionKey(event) {
  const { key } = event;
  const many = suggesting.texts.length;
  if (key === "Escape") { controller?.abort(); dismiss(); }
  else if (!many) return false;
  else if (key === "ArrowDown" || (key === "Tab" && !event.shiftKey)) suggesting.chosen = (suggesting.chosen + 1) % many;
  else if (key === "ArrowUp" || key === "Tab") suggesting.chosen = (suggesting.chosen + many - 1) % many;
  else if (key === "Enter") take(suggesting.chosen);
  else if (["1", "2", "3"].includes(key) && Number(key) <= many) take(Number(key) - 1);
  else { dismiss(); return false; }
  if (suggesting) showSuggestions();
  return true;
}

// --- events

box.addEventListener("keydown", (event) => {
  if (suggesting && !event.ctrlKey && !event.metaKey && suggestionKey(event)) { event.preventDefault(); return; }
  const command = event.ctrlKey || event.metaKey;
  if (event.key === "Enter" && command) { event.preventDefault(); complete(); }
  else if (event.key === "Tab" && !event.shiftKey && !freeTab && !controller) { event.preventDefault(); suggest(); }
  else if (event.key === "Escape") { controller?.abort(); freeTab = true; }
  else if (command && event.key.toLowerCase() === "z") { event.preventDefault(); (event.shiftKey ? redo : undo)(); }
});
box.addEventListener("blur", () => { freeTab = false; });
box.addEventListener("input", () => {
  dismiss();
  count();
  clearTimeout(editTimer);
  editTimer = setTimeout(noteEdit, 600);
});
roving($("alternatives"), ["ArrowRight", "ArrowDown"], ["ArrowLeft", "ArrowUp"]);
$("alternatives").addEventListener("keydown", (event) => { if (event.key === "Escape") box.focus(); });
$("complete").addEventListener("click", complete);
$("stop").addEventListener("click", () => controller?.abort());
$("undo").addEventListener("click", undo);
$("redo").addEventListener("click", redo);
if ("speechSynthesis" in window) {
  speechSynthesis.getVoices(); // some browsers look for voices only once they are asked
  const reader = new Reader(() => heard(false));
  const heard = (is) => { $("listen").textContent = is ? "Silence" : "Listen"; $("listen").setAttribute("aria-pressed", String(is)); };
  $("listen").addEventListener("click", () => {
    if (reader.reading) { reader.stop(); return; }
    const chosen = box.value.slice(box.selectionStart, box.selectionEnd);
    reader.read(chosen || box.value);
    heard(reader.reading);
  });
  addEventListener("pagehide", () => reader.stop());
} else $("listen").hidden = true;
$("again").addEventListener("click", () => { $("seed").value = String(lastSeed); $("again").hidden = true; $("seed").focus(); save(); });
for (const id of ["seed", "stops", "model"]) $(id).addEventListener("change", save);
addEventListener("pagehide", () => { noteEdit(); save(); });
addEventListener("hashchange", () => { if (location.hash.startsWith("#share=")) location.reload(); });

$("openings").replaceChildren(...OPENINGS.map((text) => {
  const button = element("button", { type: "button", textContent: text });
  button.addEventListener("click", () => { box.value = text; box.setSelectionRange(text.length, text.length); noteEdit(); count(); complete(); });
  return button;
}));

$("save-txt").addEventListener("click", () => download("text.txt", box.value, "text/plain"));
$("save-json").addEventListener("click", () => {
  const story = { text: box.value, seed: lastSeed ?? ($("seed").value.trim() || null), settings: settings(), alternatives: Number(nRange.value), written: new Date().toISOString() };
  download("text.json", JSON.stringify(story, null, 2), "application/json");
});
$("save-docx").addEventListener("click", async () => {
  tell(null);
  const headers = { "content-type": "application/json" };
  const answer = await fetch("/write/docx", { method: "POST", headers, body: JSON.stringify({ text: box.value }) });
  if (!answer.ok) { tell((await answer.json()).error); return; }
  download("text.docx", await answer.blob(), "application/vnd.openxmlformats-officedocument.wordprocessingml.document");
});
$("share").addEventListener("click", async () => {
  const state = { text: box.value, ...knobs.values(), n: Number(nRange.value), model: $("model").value, seed: $("seed").value, stops: $("stops").value };
  const link = `${location.origin}/write#share=${encodeURIComponent(JSON.stringify(state))}`;
  try {
    await navigator.clipboard.writeText(link);
    $("status").textContent = "the link is copied; the text is in it, and nowhere else";
  } catch { history.replaceState(null, "", link); $("status").textContent = "copy the address of this page"; }
});
$("clear").addEventListener("click", () => { noteEdit(); versions = new Versions(); goTo(versions.current); $("alternatives").replaceChildren(); box.focus(); });

const wanted = new URLSearchParams(location.search).get("model");
const last = restore();
models($("model"), wanted ?? last).then(() => { if (box.value === "") box.focus(); }).catch(tell);
