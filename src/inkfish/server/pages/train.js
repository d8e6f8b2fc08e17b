// The Train page: files up, a plan, a run to watch.
import { get, post, put, stream } from "./ask.js";

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
const STATES = {
  new: "not begun", training: "training", pausing: "saving…", paused: "paused",
  finished: "finished", failed: "stopped by an error", elsewhere: "trained elsewhere",
};
let tables = [];
let kept = [];       // files of the run that is put together
let watched = null;  // { name, began, records }
let timer = 0;
let measured = 0;    // plans that were measured; only the last one is shown

function tell(error) { $("trouble").textContent = error ? error.message ?? String(error) : ""; }

function element(kind, text, ...children) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  made.append(...children);
  return made;
}

function size(bytes) {
  return bytes < 1e6 ? `${number.format(Math.ceil(bytes / 1000))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function gibibytes(bytes) { return (bytes / 2 ** 30).toFixed(1); }

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// --- texts

function runName() {
  if (!$("name").value && kept.length) {
    const stem = kept[0].name.replace(/\..*$/, "").normalize("NFKD").replace(/[^A-Za-z0-9_-]+/g, "-");
    $("name").value = stem.replace(/^[-_]+|[-_]+$/g, "").slice(0, 60) || "my-texts";
  }
  return $("name").value.trim();
}

async function add(files) {
  tell(null);
  if (!files.length) return;
  if (!$("name").value) {
    kept = [{ name: files[0].name }];
    runName();
    kept = [];
    const taken = new Set((await get("/train/runs")).runs.map((run) => run.name));
    const stem = $("name").value;
    for (let i = 2; taken.has($("name").value); i++) $("name").value = `${stem}-${i}`;
  }
  for (const file of files) {
    try {
      const done = await put(`/train/files/${encodeURIComponent(runName())}/${encodeURIComponent(file.name)}`, file);
      kept = kept.filter((other) => other.name !== done.name);
      kept.push(done);
    } catch (error) { tell(new Error(`${file.name}: ${error.message}`)); }
  }
  $("files").value = "";
  showFiles();
}

function showFiles() {
  $("list").replaceChildren(...kept.map((file) => {
    const remove = element("button", "Remove");
    remove.type = "button";
    remove.className = "quiet";
    remove.setAttribute("aria-label", `Remove ${file.name}`);
    remove.addEventListener("click", async () => {
      const path = `/train/files/${encodeURIComponent(runName())}/${encodeURIComponent(file.name)}`;
      await fetch(path, { method: "DELETE" });
      kept = kept.filter((other) => other !== file);
      showFiles();
      $("files").focus();
    });
    return element("li", "", element("span", `${file.name} · ${size(file.bytes)}`), remove);
  }));
  $("columns").hidden = !kept.some((file) => tables.some((kind) => file.name.toLowerCase().replace(/\.gz$/, "").endsWith(kind)));
  $("name").readOnly = kept.length > 0;
  hidePlan();
}

// --- plan

function hidePlan() {
  $("plan").hidden = true;
  measured++;
}

function recipe() {
  return {
    name: runName(), model: $("model").value, train: $("train").value, epochs: Number($("epochs").value),
    form: $("form").value, column: $("column").value,
    openings: $("openings").value.split("\n").filter((line) => line.trim()).slice(0, 5),
  };
}

async function showPlan() {
  tell(null);
  $("show-plan").disabled = true;
  try {
    const plan = await post("/train/plan", recipe());
    const facts = {
      Texts: `${number.format(plan.files)} ${plan.files === 1 ? "file" : "files"}, ${number.format(plan.documents)} ${plan.documents === 1 ? "document" : "documents"}, ${number.format(plan.words)} words`,
      Tokens: `${number.format(plan.tokens)} each time the texts are read, ${number.format(plan.held_out)} held out to check`,
      Model: `${number.format(plan.parameters)} parameters, context ${number.format(plan.context)} tokens`,
      Steps: `about ${number.format(plan.steps)}`,
      Time: "measuring on this machine…",
      Memory: "measuring…",
    };
    showFacts(facts);
    const notes = [...plan.notes];
    if (plan.near_duplicates) notes.push(`Left out because they say nearly the same as another part: ${number.format(plan.near_duplicates)}`);
    if (plan.short) notes.push("This is very little text. The model will soon know it by heart; more would be better.");
    $("notes").replaceChildren(...notes.map((note) => element("li", note)));
    $("plan").hidden = false;
    $("start").focus();
    measure(facts);
  } catch (error) { tell(error); }
  $("show-plan").disabled = false;
}

function showFacts(facts) {
  $("facts").replaceChildren(...Object.entries(facts).flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

async function measure(facts) {
  const mine = ++measured;
  try {
    const found = await post("/train/measure", recipe());
    if (mine !== measured) return;
    facts.Steps = number.format(found.steps);
    facts.Time = `about ${duration(found.seconds_each)} each time the texts are read, ${duration(found.seconds)} altogether; measured on this machine`;
    facts.Memory = `about ${gibibytes(found.memory)} GiB${found.available === null ? "" : `; ${gibibytes(found.available)} GiB are free`}`;
    $("notes").append(...found.advice.map((note) => element("li", note)));
  } catch (error) {
    if (mine !== measured) return;
    facts.Time = `not measured: ${error.message}`;
    delete facts.Memory;
  }
  showFacts(facts);
}

// --- a run

async function act(path) {
  tell(null);
  try {
    await post(path, { name: watched.name });
    await look();
  } catch (error) { tell(error); }
}

function watch(name) {
  watched = { name, began: null, records: [] };
  location.hash = name ? encodeURIComponent(name) : "";
  $("begin").hidden = Boolean(name);
  $("run").hidden = !name;
  $("written").textContent = "";
  tell(null);
  clearTimeout(timer);
  if (name) look();
}

async function look() {
  clearTimeout(timer);
  const mine = watched;
  if (!mine?.name) return;
  try {
    const run = await get(`/train/runs/${encodeURIComponent(mine.name)}?after=${mine.records.length}`);
    if (mine !== watched) return;
    if (run.began !== mine.began || run.total < mine.records.length) {
      const all = run.total ? await get(`/train/runs/${encodeURIComponent(mine.name)}`) : run;
      mine.began = run.began;
      mine.records = all.records;
    } else mine.records.push(...run.records);
    show(run, mine.records);
    await showRuns();
  } catch (error) { tell(error); }
  if (mine === watched) timer = setTimeout(look, 1000);
}

function show(run, records) {
  const steps = records.filter((record) => "loss" in record);
  const updates = records.filter((record) => "objective/score" in record); // of learning from preferences
  const measures = records.filter((record) => "held_out/accuracy" in record); // of learning from labels directly
  const last = steps.at(-1) ?? updates.at(-1);
  $("run-name").textContent = run.name;
  $("state").textContent = STATES[run.state];
  $("state").className = run.state === "failed" ? "error" : run.state === "finished" ? "good" : "faint";
  $("bar").max = run.steps ?? 1;
  $("bar").value = last?.step ?? 0;
  const parts = [];
  if (last) parts.push(`step ${number.format(last.step)} of ${number.format(run.steps ?? last.step)}`);
  if (last && updates.length) parts.push(...sayUpdate(updates.at(-1)));
  else if (last) parts.push(`loss ${last.loss?.toFixed(3) ?? "–"}`);
  const checked = records.filter((record) => "validation" in record).at(-1);
  if (checked) parts.push(`held out ${checked.validation.toFixed(3)} bits a byte`);
  if (measures.length) parts.push(...sayMeasure(measures.at(-1)));
  if (run.seconds_to_go !== null) parts.push(`${duration(run.seconds_to_go)} to go`);
  if (!last && run.state === "training") parts.push("reading the texts and measuring this machine…");
  $("numbers").textContent = parts.join(" · ");
  $("pause").hidden = run.state !== "training";
  $("resume").hidden = !["paused", "failed"].includes(run.state);
  $("run-error").textContent = run.error?.replace(/^inkfish: /, "") ?? "";
  $("write").hidden = !run.writes;
  $("lines").textContent = run.lines.join("\n");
  if (updates.length) drawUpdates(updates);
  else drawLoss(steps, measures.length ? "it tells what labels prefer" : "it guesses your texts");
  if (measures.length) drawDivergence(measures, "step");
  $("divergence").hidden = !updates.length && !measures.length;
  showSamples(run.samples, updates.length ? "update" : "step");
}

function sayUpdate(record) {
  const said = [`reward ${record["objective/score"].toFixed(3)}`];
  if ("judge" in record) said.push(`second judge ${record.judge.toFixed(3)}`);
  said.push(`KL ${record["objective/kl"].toFixed(2)} nats at ${record["objective/kl_coef"].toFixed(3)}`);
  said.push(`entropy ${record["policy/entropy"].toFixed(2)}`, `${record.episodes_per_second.toFixed(1)} responses a second`);
  return said;
}

function sayMeasure(record) {
  return [`prefers what held-out labels do ${(100 * record["held_out/accuracy"]).toFixed(1)} % of the time`, `KL ${record["objective/kl"].toFixed(2)} nats`];
}

function drawUpdates(updates) {
  const score = drawCurve($("curve"), updates.map((record) => ({ step: record.update, value: record["objective/score"] })), "update");
  if (score) $("curve-caption").textContent = `Reward ${score.first.toFixed(2)} → ${score.last.toFixed(2)}: what the texts of an update are worth`;
  drawDivergence(updates, "update");
}

function drawDivergence(records, unit) {
  const kl = drawCurve($("divergence-curve"), records.map((record) => ({ step: record[unit], value: record["objective/kl"] })), unit);
  if (kl) $("divergence-caption").textContent = `Divergence ${kl.first.toFixed(2)} → ${kl.last.toFixed(2)} nats: how far it has moved from where it began`;
}

function drawLoss(steps, what) {
  const loss = drawCurve($("curve"), steps.map((step) => ({ step: step.step, value: step.loss })), "step");
  if (loss) $("curve-caption").textContent = `Loss ${loss.first.toFixed(2)} → ${loss.last.toFixed(2)}: the lower, the better ${what}`;
}

function showSamples(samples, unit) {
  const key = samples.map((sample) => sample.step).join();
  if (!samples.length || $("samples").dataset.key === key) return;
  $("samples").dataset.key = key;
  $("samples").replaceChildren(...samples.map((sample, i) => {
    const text = element("p", sample.text);
    text.className = "writing";
    const made = element("details", "", element("summary", `after ${unit} ${number.format(sample.step)}`), text);
    made.className = "sample";
    made.open = i === 0;
    return made;
  }));
}

function shape(kind, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

// Draws values over steps, raw and smooth (a few as they are); returns the first value and the last smooth one.
function drawCurve(place, all, unit) {
  const points = all.filter((point) => Number.isFinite(point.value));
  if (points.length < 2) { place.replaceChildren(); return null; }
  const [left, right, top, bottom] = [44, 630, 12, 212];
  const values = points.map((point) => point.value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const first = points[0].step, span = Math.max(1, points.at(-1).step - first);
  const x = (step) => left + ((step - first) / span) * (right - left);
  const y = (value) => bottom - ((value - low) / Math.max(1e-6, high - low)) * (bottom - top);
  const line = (values) => values.map((value, i) => `${i ? "L" : "M"}${x(points[i].step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  let mean = values[0];
  const smooth = values.map((value) => (mean += (value - mean) * Math.min(1, Math.max(0.08, 10 / values.length))));
  const parts = [low, (low + high) / 2, high].flatMap((value) => [
    shape("line", { class: "grid-line", x1: left, x2: right, y1: y(value), y2: y(value) }),
    shape("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(2)),
  ]);
  parts.push(shape("text", { x: left, y: 232 }, `${unit} ${number.format(first)}`));
  parts.push(shape("text", { x: right, y: 232, "text-anchor": "end" }, number.format(points.at(-1).step)));
  parts.push(shape("path", { class: "raw", d: line(values) }), shape("path", { class: "smooth", d: line(smooth) }));
  place.replaceChildren(...parts);
  return { first: values[0], last: smooth.at(-1) };
}

// --- writing

let writing = null;

async function write() {
  writing = new AbortController();
  $("stop").hidden = false;
  $("go").disabled = true;
  $("written").textContent = "";
  const body = { model: watched.name, prompt: $("opening").value, max_tokens: 120, temperature: 0.8, top_p: 0.95, slide: true };
  try {
    const opening = element("strong", $("opening").value);
    $("written").replaceChildren(opening);
    for await (const chunk of stream("/v1/completions", body, writing.signal)) $("written").append(chunk.choices[0]?.text ?? "");
  } catch (error) { if (error.name !== "AbortError") tell(error); }
  $("stop").hidden = true;
  $("go").disabled = false;
}

// --- all together

async function showRuns() {
  const { runs } = await get("/train/runs");
  const key = JSON.stringify(runs) + watched?.name;
  if ($("runs").dataset.key === key) return;
  $("runs").dataset.key = key;
  $("runs").replaceChildren(...runs.map((run) => {
    const button = element("button", "", element("span", run.name), element("span", STATES[run.state]));
    button.type = "button";
    button.className = "quiet";
    if (run.name === watched?.name) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => run.state === "new" ? goOn(run.name) : watch(run.name));
    return element("li", "", button);
  }));
  if (!runs.length) $("runs").replaceChildren(element("li", "none yet"));
}

async function goOn(name) {
  watch(null);
  $("name").value = name;
  kept = (await get(`/train/runs/${encodeURIComponent(name)}`)).files;
  showFiles();
}

async function begin() {
  const { models, able, suffixes, tables: kinds } = await get("/train/runs");
  tables = kinds;
  $("kinds").textContent = `${suffixes.map((kind) => kind.slice(1)).join(", ")}; nothing leaves this machine`;
  $("files").accept = [...suffixes, ".gz"].join(",");
  $("model").replaceChildren(...models.map((name) => new Option(name, name, name === "starter", name === "starter")));
  if (!able) tell(new Error("Training needs more packages: pip install 'inkfish[train]'"));
  if (location.hash.length > 1) watch(decodeURIComponent(location.hash.slice(1)));
  await showRuns();
}

for (const kind of ["dragover", "dragenter"]) $("drop").addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
for (const kind of ["dragleave", "drop"]) $("drop").addEventListener(kind, () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => { event.preventDefault(); add([...event.dataTransfer.files]).catch(tell); });
$("files").addEventListener("change", () => add([...$("files").files]).catch(tell));
for (const form of ["texts", "how"]) $(form).addEventListener("submit", (event) => event.preventDefault());
$("how").addEventListener("input", hidePlan);
$("show-plan").addEventListener("click", showPlan);
$("start").addEventListener("click", async () => {
  tell(null);
  try {
    await post("/train/start", recipe());
    const { name } = recipe();
    kept = [];
    $("name").value = "";
    showFiles();
    watch(name);
  } catch (error) { tell(error); }
});
$("pause").addEventListener("click", () => act("/train/pause"));
$("resume").addEventListener("click", () => act("/train/resume"));
$("new").addEventListener("click", () => watch(null));
$("go").addEventListener("click", write);
$("stop").addEventListener("click", () => writing?.abort());
begin().catch(tell);
