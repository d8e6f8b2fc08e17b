// The Label page: one item at a time, by keys or fingers; an answer counts once the server has it on its disk.
import { get, post } from "./ask.js";
import { offer } from "./openings.js";

const $ = (id) => document.getElementById(id);
const KEY = "inkfish.labeller";
let labeller = "";
let item = null;
let shownKey = "";
let shownAt = 0;
let busy = false;

function tell(text) { $("trouble").textContent = text ?? ""; }

function element(kind, properties, ...children) {
  const made = Object.assign(document.createElement(kind), properties);
  made.append(...children);
  return made;
}

// randomUUID is missing on plain http in a network, where tablets label.
function request() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// Sends until the server has answered: the request's name makes a second arrival harmless.
async function surely(path, body) {
  for (let pause = 0.5; ; pause = Math.min(8, 2 * pause)) {
    try {
      const found = await post(path, body);
      tell("");
      return found;
    } catch (error) {
      if (error.status && error.status < 500 && error.status !== 408 && error.status !== 429) throw error;
      tell("Not saved yet: the server can’t be reached. Trying again…");
      await wait(pause);
    }
  }
}

function progress(facts) {
  $("bar").value = facts.items ? facts.complete / facts.items : 0;
  $("numbers").textContent = `${facts.mine} by you; ${facts.complete} of ${facts.items} texts done`;
  $("rubric").textContent = facts.rubric;
  $("rubric-card").hidden = !facts.rubric;
}

function show() {
  $("item").hidden = !item;
  $("finished").hidden = Boolean(item);
  if (item?.key !== shownKey) forget();
  shownKey = item?.key ?? "";
  if (!item) { $("question").textContent = "Nothing is left"; return; }
  $("query").textContent = item.query.trim();
  const rating = item.kind === "rating";
  $("candidates").replaceChildren(...item.candidates.map((text, slot) => {
    const said = text.trim();
    const body = element("span", { className: said ? "writing" : "faint", textContent: said || "(nothing)" });
    if (rating) return element("li", { className: "card" }, body);
    const button = element("button", { type: "button", className: "candidate" }, element("kbd", { textContent: slot + 1 }), body);
    button.addEventListener("click", () => choose(slot));
    return element("li", {}, button);
  }));
  $("question").textContent = rating ? "How good is it?" : "Which is best?";
  $("scale").hidden = !rating;
  for (const id of ["tie", "bad"]) $(id).hidden = rating;
  shownAt = Date.now() / 1000;
}

// A note is of the text beside which it was written, never of the next one.
function forget() {
  $("note").value = "";
  $("noting").hidden = true;
  $("noted").hidden = true;
}

async function next() {
  const found = await surely("/label/next", { labeller });
  item = found.item;
  progress(found);
  if (found.writes) offer(!found.items, () => guarded(next));
  show();
  $("nothing").hidden = found.items > 0;
  $("finished").hidden ||= !found.items;
  if (!found.items) $("question").textContent = "There is nothing to label yet";
}

async function guarded(act) {
  if (busy) return;
  busy = true;
  try { await act(); } catch (error) { tell(error.message); }
  busy = false;
}

function say(what) {
  return guarded(async () => {
    const body = { request: request(), labeller, item: item.key, repeat: item.repeat, shown: shownAt, note: $("note").value, ...what };
    try {
      await surely("/label/answer", body);
      forget();
    } finally { await next(); }
  });
}

function choose(slot) {
  $("candidates").children[slot]?.firstChild.classList.add("chosen");
  return say({ verdict: "best", slots: [slot] });
}

function undo() {
  return guarded(async () => {
    const { undone } = await surely("/label/undo", { labeller, request: request() });
    await next();
    if (!undone) tell("There is nothing of yours to undo.");
  });
}

function note(open) {
  $("noting").hidden = !open;
  $("noted").hidden = !$("note").value.trim();
  if (open) $("note").focus(); else $("add-note").focus();
}

function help() {
  const open = $("keys").hidden;
  $("keys").hidden = !open;
  $("help").setAttribute("aria-expanded", String(open));
}

const acts = {
  t: () => item.kind !== "rating" && say({ verdict: "tie", slots: item.candidates.map((_, slot) => slot) }),
  b: () => item.kind !== "rating" && say({ verdict: "bad" }),
  s: () => say({ verdict: "skip" }),
  n: () => note(true),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("work").hidden) return;
  if (event.target.matches("input, textarea, select")) {
    if (event.key === "Escape" && event.target.id === "note") note(false);
    return;
  }
  const key = event.key.toLowerCase();
  if (key === "?") help();
  else if (key === "u") undo();
  else if (item && acts[key]) acts[key]();
  else if (item && /^[1-9]$/.test(key)) {
    const number = Number(key);
    if (item.kind === "rating") { if (number <= 7) say({ verdict: "rating", rating: number }); }
    else if (number <= item.candidates.length) choose(number - 1);
  } else return;
  event.preventDefault();
});

for (const [id, key] of [["tie", "t"], ["bad", "b"], ["skip", "s"], ["add-note", "n"]]) $(id).addEventListener("click", () => item && acts[key]());
$("ratings").append(...[1, 2, 3, 4, 5, 6, 7].map((n) => {
  const button = element("button", { type: "button", textContent: n });
  button.addEventListener("click", () => say({ verdict: "rating", rating: n }));
  return button;
}));
$("undo").addEventListener("click", undo);
$("undo-last").addEventListener("click", undo);
$("look").addEventListener("click", () => guarded(next));
$("help").addEventListener("click", help);

function percent(share) { return share === null || share === undefined ? "–" : `${Math.round(100 * (share.mean ?? share))} %`; }

function range(share) { return share ? `${percent(share)} (${Math.round(100 * share.low)} to ${Math.round(100 * share.high)})` : "–"; }

function first(who) { return who.first ? `${range(who.first)}; chance ${percent(who.chance)}` : "–"; }

function together(both, what) {
  const alpha = both.alpha === null ? "–" : both.alpha.toFixed(2);
  const between = both.alpha_low === null ? "" : ` (${both.alpha_low.toFixed(2)} to ${both.alpha_high.toFixed(2)})`;
  const kappa = both.kappa === null ? "" : `, kappa ${both.kappa.toFixed(2)} of the ${both.kappa_items} with as many labels`;
  return `${both.items} texts were ${what} by several: ${percent(both.percent)} of pairs equal, Krippendorff’s alpha ${alpha}${between}${kappa}.`;
}

$("figures").addEventListener("toggle", () => $("figures").open && guarded(async () => {
  const found = await get("/label/dashboard");
  const table = element("table", {}, element("tr", {}, ...["Who", "Labels", "Seconds each", "Chose what stood first", "Known ones right", "Same again"].map((text) => element("th", { textContent: text }))));
  for (const who of found.labellers) {
    const cells = [who.name, who.labels, who.seconds === null ? "–" : who.seconds.toFixed(1), first(who), range(who.gold), range(who.steady)];
    table.append(element("tr", {}, ...cells.map((text) => element("td", { textContent: text }))));
  }
  const texts = [["chosen from", found.agreement], ["rated", found.ratings]].filter(([, both]) => both).map(([what, both]) => together(both, what));
  const lines = texts.length ? texts : ["No text was labelled by two yet."];
  $("figures-place").replaceChildren(table, ...lines.map((text) => element("p", { className: "spaced", textContent: text })));
}));

$("pause").addEventListener("click", () => guarded(async () => {
  const { runs } = await surely("/label/pause", { labeller });
  $("paused").hidden = false;
  $("paused").textContent = runs.length ? runs.map((run) => `${run.name} stops after its present update.\n${run.samples}`).join("\n\n") : "Nothing is training here.";
}));

function begin(name) {
  labeller = name;
  sessionStorage.setItem(KEY, name);
  localStorage.setItem(KEY, name);
  $("me").textContent = name;
  $("enter").hidden = true;
  $("work").hidden = false;
  guarded(next);
}

$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  if (name) begin(name);
});

$("other").addEventListener("click", () => guarded(() => {
  sessionStorage.removeItem(KEY);
  location.reload();
}));

// A reload goes on; in a new window somebody else may sit there, so that it asks.
$("name").value = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? "";
if (sessionStorage.getItem(KEY)) begin($("name").value); else $("name").focus();
