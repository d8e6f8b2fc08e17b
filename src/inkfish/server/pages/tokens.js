// The Tokens page: a text coloured by probability, where heads look, and auto-regression step by step.
import { Attention } from "./attention.js";
import { post } from "./ask.js";
import { $, element, tell } from "./elements.js";
import { roving } from "./roving.js";
import { models, sliders } from "./settings.js";

const TABS = ["likely", "attention", "step"];
const knobs = sliders($("sliders"), ["temperature", "top_p", "top_k", "min_p"], () => {});
knobs.set({ temperature: 1, top_p: 1 });
const attention = new Attention(visible);
let tokens = [];     // of the text that was looked at, as /score gives them
let looked = 0;      // answers to an earlier look are dropped
const past = [];     // texts to go back to
const SHOWN = 3000;  // tokens: with more of them a page is slow
let steps = [];      // of the step mode: { id, text, logprob }
let base = [];       // its first ids
let begun = "";      // their text
let likely = [];     // the distribution that the next token is drawn from
let playing = 0;
let hiding = 0;

function visible(text) { return text.replace(/\n/g, "↵").replace(/\t/g, "⇥").replace(/ /g, "␣") || "·"; }
function percent(logprob) {
  const value = Math.exp(logprob) * 100;
  return value >= 0.1 ? `${value.toFixed(1)} %` : value > 0.001 ? `${value.toFixed(3)} %` : "< 0.001 %";
}
function shade(logprob) { return logprob === null ? "4" : String(Math.max(0, Math.min(8, Math.round(8 + logprob)))); }

function chosenSeed() {
  const number = Number($("seed").value.trim() || "1");
  if (!Number.isSafeInteger(number)) throw new Error("the seed must be a whole number");
  return number;
}

function bar(token, drawn, act) {
  const share = element("span", { className: "bar" });
  share.style.setProperty("--share", String(Math.exp(token.logprob)));
  const parts = [element("code", { textContent: visible(token.text) }), share, element("span", { className: "percent", textContent: percent(token.logprob) })];
  const row = element(act ? "button" : "div", act ? { type: "button" } : {}, ...parts);
  if (drawn) row.classList.add("drawn");
  if (act) row.addEventListener("click", () => act(token));
  return element("li", {}, row);
}

function tokenButton(token, note) {
  const button = element("button", { type: "button", textContent: token.text });
  button.classList.toggle("line", token.text.includes("\n"));
  button.dataset.shade = shade(token.logprob);
  button.setAttribute("aria-label", [visible(token.text), token.logprob === null ? "" : percent(token.logprob), note].filter(Boolean).join(", "));
  return button;
}

// --- views

function open(view) {
  for (const name of TABS) {
    $(name).hidden = name !== view;
    $(`tab-${name}`).setAttribute("aria-selected", String(name === view));
    $(`tab-${name}`).tabIndex = name === view ? 0 : -1;
  }
  $("drawing").hidden = view === "attention";
  $("views").classList.toggle("alone", view === "attention");
  if (view !== "step") stop();
  if (view === "attention") attention.show();
}

// --- a text

async function look() {
  tell(null);
  hide();
  const mine = ++looked;
  try {
    const body = { model: $("model").value, text: $("text").value, top: 10, from_start: $("from-start").checked };
    const score = await post("/score", body);
    if (mine !== looked) return;
    const perplexity = score.perplexity === null ? "" : ` · perplexity ${score.perplexity.toFixed(1)} · ${score.bits_per_byte.toFixed(2)} bits a byte`;
    const all = score.tokens.length;
    tokens = score.tokens.slice(0, SHOWN);
    $("summary").textContent = `${all.toLocaleString("en")} ${all === 1 ? "token" : "tokens"}${perplexity}${all > SHOWN ? ` · the first ${SHOWN.toLocaleString("en")} are shown` : ""}`;
    $("tokens").replaceChildren(...tokens.map((token, i) => {
      const button = tokenButton(token);
      for (const kind of ["mouseenter", "focus", "click"]) button.addEventListener(kind, () => show(i));
      button.tabIndex = i ? -1 : 0;
      return button;
    }));
    attention.look(body.model, tokens.map((token) => token.id), body.from_start, !$("attention").hidden);
  } catch (error) { if (mine === looked) tell(error); }
}

// Shows beneath a token what else could stand in its place.
function show(i) {
  clearTimeout(hiding);
  const token = tokens[i], button = $("tokens").children[i];
  for (const other of $("tokens").children) other.toggleAttribute("aria-current", other === button);
  const rank = token.rank === null ? "nothing stands before it" : `${percent(token.logprob)}, place ${token.rank.toLocaleString("en")}`;
  $("about").replaceChildren(element("code", { textContent: visible(token.text) }), ` · token ${token.id} · ${rank}`);
  $("others").replaceChildren(...token.top.map((other, k) => {
    const row = bar(other, other.id === token.id, (chosen) => goOn(i, chosen));
    row.firstChild.tabIndex = k ? -1 : 0;
    return row;
  }));
  const detail = $("detail"), panel = $("likely").getBoundingClientRect(), place = [...button.getClientRects()].at(-1);
  detail.hidden = false;
  detail.style.left = `${Math.max(8, Math.min(place.left - panel.left, panel.width - detail.offsetWidth - 8))}px`;
  detail.style.top = `${place.bottom - panel.top}px`;
}

function hide() {
  clearTimeout(hiding);
  $("detail").hidden = true;
  for (const button of $("tokens").children) button.removeAttribute("aria-current");
}

function current() { return $("tokens").querySelector("[aria-current]"); }

async function goOn(i, chosen) {
  tell(null);
  const model = $("model").value;
  try {
    const start = [...tokens.slice(0, i).map((token) => token.id), chosen.id];
    const answer = await post("/v1/completions", { model, prompt: start, max_tokens: 30, seed: chosenSeed(), slide: true, ...knobs.values() });
    const { prompt } = await post("/detokenize", { model, tokens: start });
    past.push($("text").value);
    $("undo").hidden = false;
    $("text").value = prompt + answer.choices[0].text;
    await look();
    $("tokens").children[i]?.focus();
  } catch (error) { tell(error); }
}

async function undo() {
  $("text").value = past.pop();
  $("undo").hidden = !past.length;
  await look();
  if ($("undo").hidden) $("text").focus();
}

// --- step by step

async function begin() {
  tell(null);
  stop();
  try {
    begun = $("text").value;
    base = (await post("/tokenize", { model: $("model").value, prompt: begun })).tokens;
    steps = [];
    await lookAhead();
    $("next").focus();
  } catch (error) { tell(error); }
}

async function lookAhead() {
  const ids = [...base, ...steps.map((step) => step.id)];
  likely = (await post("/next", { model: $("model").value, top: 10, ...(ids.length ? { prompt: ids } : {}) })).tokens;
  $("stepped").replaceChildren(element("span", { textContent: begun }), ...steps.map((step, i) => {
    const button = tokenButton(step, "go back to here");
    button.classList.toggle("new", i === steps.length - 1);
    button.addEventListener("click", () => goBack(i + 1));
    return button;
  }));
  $("candidates").replaceChildren(...likely.map((token) => bar(token, false, (chosen) => guarded(() => choose(chosen)))));
  for (const id of ["next", "play"]) $(id).disabled = false;
  $("back").disabled = !steps.length;
}

async function goBack(length) {
  stop();
  steps = steps.slice(0, length);
  await guarded(lookAhead);
  ($("stepped").querySelector("button:last-child") ?? $("next")).focus();
}

async function choose(token) {
  const place = [...$("candidates").querySelectorAll("button")].indexOf(document.activeElement);
  steps.push({ id: token.id, text: token.text, logprob: token.logprob });
  $("drawn").textContent = `${visible(token.text)}, ${percent(token.logprob)}`;
  await lookAhead();
  $("candidates").querySelectorAll("button")[place]?.focus();
  return true;
}

// The API gives a token's text. Parts of characters have the same text: they are told apart by how likely they are.
async function idOf({ text, logprob }, ids) {
  const model = $("model").value;
  const same = (token) => token.text === text && Math.abs(token.logprob - logprob) < 1e-3;
  const listed = likely.find(same);
  if (listed) return listed.id;
  const { tokens } = await post("/tokenize", { model, prompt: text });
  if (tokens.length === 1) return tokens[0];
  const more = (await post("/next", { model, top: 100, ...(ids.length ? { prompt: ids } : {}) })).tokens.find(same);
  if (!more) throw new Error("an unlikely part of a character was drawn; take another seed, or draw again");
  return more.id;
}

async function draw() {
  const ids = [...base, ...steps.map((step) => step.id)];
  const body = { model: $("model").value, prompt: ids.length ? ids : "", max_tokens: 1, seed: chosenSeed(), logprobs: 1, slide: true, min_tokens: 1, ...knobs.values() };
  const answer = await post("/v1/completions", body);
  const listed = answer.choices[0].logprobs;
  if (!listed.tokens.length) { stop(); tell(new Error("the text has come to its end")); return false; }
  const drawn = { text: listed.tokens[0], logprob: listed.token_logprobs[0] };
  drawn.id = await idOf(drawn, ids);
  const row = [...$("candidates").children][likely.findIndex((token) => token.id === drawn.id)];
  if (row) row.firstChild.classList.add("drawn");
  else $("candidates").append(bar(drawn, true));
  await pause();
  return choose(drawn);
}

function pause() { return new Promise((done) => setTimeout(done, 900 / Number($("pace").value))); }

async function guarded(action) {
  const had = document.activeElement === $("next");
  $("next").disabled = true;
  try { return await action(); } catch (error) { stop(); tell(error); return false; } finally {
    $("next").disabled = false;
    if (had) $("next").focus();
  }
}

function stop() {
  playing += 1;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
}

async function play() {
  if ($("play").getAttribute("aria-pressed") === "true") { stop(); return; }
  const mine = ++playing;
  $("play").textContent = "Pause";
  $("play").setAttribute("aria-pressed", "true");
  while (mine === playing && await guarded(draw)) await pause();
}

// --- events

$("form").addEventListener("submit", (event) => { event.preventDefault(); look(); });
$("undo").addEventListener("click", undo);
$("model").addEventListener("change", look);
$("from-start").addEventListener("change", look);
for (const name of TABS) $(`tab-${name}`).addEventListener("click", () => open(name));
roving(document.querySelector("[role=tablist]"), ["ArrowRight"], ["ArrowLeft"], (tab) => tab.click());
roving($("tokens"), ["ArrowRight"], ["ArrowLeft"]);
roving($("others"), ["ArrowDown"], ["ArrowUp"]);
$("tokens").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  $("others").querySelector("button")?.focus();
});
$("likely").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const back = current();
  if ($("detail").contains(document.activeElement)) back?.focus();
  hide();
});
$("likely").addEventListener("mouseleave", () => { hiding = setTimeout(hide, 300); });
$("likely").addEventListener("mouseenter", () => clearTimeout(hiding));
$("likely").addEventListener("focusout", (event) => { if (event.relatedTarget && !$("likely").contains(event.relatedTarget)) hide(); });
document.addEventListener("click", (event) => { if (!event.target.closest("#tokens button, #detail")) hide(); });
$("begin").addEventListener("click", begin);
$("next").addEventListener("click", () => guarded(draw));
$("play").addEventListener("click", play);
$("back").addEventListener("click", async () => { await goBack(steps.length - 1); if (steps.length) $("back").focus(); });
models($("model")).then(look).catch(tell);
