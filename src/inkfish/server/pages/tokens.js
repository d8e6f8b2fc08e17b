// The Tokens page: a text coloured by probability, what else could stand there, and auto-regression step by step.
import { post } from "./ask.js";
import { models, sliders } from "./settings.js";

const $ = (id) => document.getElementById(id);
const knobs = sliders($("sliders"), ["temperature", "top_p", "top_k", "min_p"], () => {});
knobs.set({ temperature: 1, top_p: 1 });
let steps = [];      // of the step mode: { id, text, top }
let base = [];       // its first ids
let likely = [];     // the distribution that the next token is drawn from
let playing = 0;

function tell(error) { $("trouble").textContent = error ? error.message ?? String(error) : ""; }

function element(kind, properties, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

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
  const meter = element("meter", { min: 0, max: 1, value: Math.exp(token.logprob) });
  meter.setAttribute("aria-hidden", "true");
  const parts = [element("code", { textContent: visible(token.text) }), meter, element("span", { className: "percent", textContent: percent(token.logprob) })];
  const row = element(act ? "button" : "div", act ? { type: "button" } : {}, ...parts);
  if (drawn) row.classList.add("drawn");
  if (act) row.addEventListener("click", () => act(token));
  return element("li", {}, row);
}

// --- a text

async function look() {
  tell(null);
  try {
    const score = await post("/score", { model: $("model").value, text: $("text").value, top: 10, from_start: $("from-start").checked });
    const perplexity = score.perplexity === null ? "" : ` · perplexity ${score.perplexity.toFixed(1)} · ${score.bits_per_byte.toFixed(2)} bits a byte`;
    $("summary").textContent = `${score.tokens.length} tokens${perplexity}`;
    $("tokens").replaceChildren(...score.tokens.map((token, i) => tokenButton(token, () => show(score.tokens, i))));
    $("result").hidden = false;
  } catch (error) { tell(error); }
}

function tokenButton(token, act) {
  const button = element("button", { type: "button", textContent: token.text });
  button.dataset.shade = shade(token.logprob);
  if (token.logprob !== null) button.setAttribute("aria-label", `${visible(token.text)}, ${percent(token.logprob)}`);
  for (const kind of ["mouseenter", "focus", "click"]) button.addEventListener(kind, act);
  return button;
}

function show(tokens, i) {
  const token = tokens[i];
  for (const [k, button] of [...$("tokens").children].entries()) button.toggleAttribute("aria-current", k === i);
  $("hint").hidden = true;
  const rank = token.rank === null ? "the first token: nothing stands before it" : `${percent(token.logprob)} · place ${token.rank.toLocaleString("en")} of all tokens`;
  $("about").replaceChildren(element("p", {}, element("code", { textContent: visible(token.text) }), ` token ${token.id}`), element("p", { className: "hint", textContent: rank }));
  const others = token.top.map((other) => bar(other, other.id === token.id, (chosen) => goOn(tokens.slice(0, i).map((each) => each.id), chosen)));
  $("others").replaceChildren(...others);
}

async function goOn(before, chosen) {
  tell(null);
  try {
    const start = [...before, chosen.id];
    const answer = await post("/v1/completions", { model: $("model").value, prompt: start, max_tokens: 30, seed: chosenSeed(), slide: true, ...knobs.values() });
    const { prompt } = await post("/detokenize", { model: $("model").value, tokens: start });
    $("text").value = prompt + answer.choices[0].text;
    await look();
    $("tokens").children[before.length]?.focus();
  } catch (error) { tell(error); }
}

// --- step by step

async function begin() {
  tell(null);
  stop();
  try {
    const { tokens } = await post("/tokenize", { model: $("model").value, prompt: $("text").value });
    base = tokens;
    steps = [];
    await look_ahead();
  } catch (error) { tell(error); }
}

async function look_ahead() {
  const ids = [...base, ...steps.map((step) => step.id)];
  likely = (await post("/next", { model: $("model").value, top: 10, ...(ids.length ? { prompt: ids } : {}) })).tokens;
  const head = element("span", { textContent: $("text").value });
  $("stepped").replaceChildren(head, ...steps.map((step, i) => {
    const button = tokenButton(step, () => {});
    button.classList.toggle("new", i === steps.length - 1);
    return button;
  }));
  $("candidates").replaceChildren(...likely.map((token) => bar(token, false, choose)));
  for (const id of ["next", "play"]) $(id).disabled = false;
  $("back").disabled = !steps.length;
}

async function choose(token) {
  steps.push({ id: token.id, text: token.text, logprob: token.logprob });
  await look_ahead();
}

async function draw() {
  const ids = [...base, ...steps.map((step) => step.id)];
  const body = { model: $("model").value, prompt: ids.length ? ids : "", max_tokens: 1, seed: chosenSeed(), logprobs: 1, slide: true, min_tokens: 1, ...knobs.values() };
  const answer = await post("/v1/completions", body);
  const listed = answer.choices[0].logprobs;
  if (!listed.tokens.length) { stop(); tell(new Error("the text has come to its end")); return false; }
  const { tokens } = await post("/tokenize", { model: $("model").value, prompt: listed.tokens[0] });
  const known = likely.find((token) => token.text === listed.tokens[0]);
  const drawn = { id: known?.id ?? tokens[0], text: listed.tokens[0], logprob: listed.token_logprobs[0] };
  const row = [...$("candidates").children][likely.indexOf(known)];
  if (row) row.firstChild.classList.add("drawn");
  else $("candidates").append(bar(drawn, true));
  await new Promise((done) => setTimeout(done, 900 / Number($("pace").value)));
  await choose(drawn);
  return true;
}

async function guarded(action) {
  $("next").disabled = true;
  try { return await action(); } catch (error) { stop(); tell(error); return false; } finally { $("next").disabled = false; }
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
  while (mine === playing && await guarded(draw)) await new Promise((done) => setTimeout(done, 900 / Number($("pace").value)));
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); look(); });
$("begin").addEventListener("click", begin);
$("next").addEventListener("click", () => guarded(draw));
$("play").addEventListener("click", play);
$("back").addEventListener("click", () => { stop(); steps.pop(); guarded(look_ahead); });
models($("model")).catch(tell);
