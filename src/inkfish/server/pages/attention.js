// Where the heads of a layer look: a picture of each head, and for one of them each token's look back.
import { post } from "./ask.js";
import { $, element, tell } from "./elements.js";
import { roving } from "./roving.js";

const LONGEST = 128; // tokens that the server shows attention for

function percent(weight) { return `${(100 * weight).toFixed(weight < 0.1 ? 1 : 0)}\u00a0%`; }

export class Attention {
  constructor(visible) {
    Object.assign(this, { visible, asked: null, stale: false, found: null, head: 0, at: 0, turn: 0 });
    $("layer").addEventListener("change", () => { this.stale = true; this.show(); });
    roving($("heads"), ["ArrowRight", "ArrowDown"], ["ArrowLeft", "ArrowUp"], (button) => button.click());
    roving($("looking"), ["ArrowRight"], ["ArrowLeft"]);
  }

  // Takes another text; fetches what is needed when it is seen.
  look(model, ids, fromStart, seen) {
    const room = fromStart ? LONGEST - 1 : LONGEST;
    this.asked = { body: { model, text: ids.slice(0, room), from_start: fromStart }, layers: {} };
    this.note = ids.length > room ? `the first ${room} of ${ids.length} tokens` : "";
    this.stale = true;
    this.turn += 1;
    if (seen) this.show();
  }

  async show() {
    if (!this.stale) return;
    const mine = ++this.turn, { asked } = this, layer = Number($("layer").value || 0);
    tell(null);
    $("attention-note").textContent = "…";
    try {
      const found = asked.layers[layer] ??= await post("/attention", { ...asked.body, layer });
      if (mine === this.turn) this.draw({ ...found, asked });
    } catch (error) {
      if (mine !== this.turn) return;
      $("attention-note").textContent = "";
      if (error.param === "layer") { $("layer").value = "0"; this.show(); } else tell(error);
    }
  }

  draw(found) {
    const { tokens, weights, layer, layers, asked } = found;
    if (asked !== this.found?.asked) this.at = tokens.length - 1;
    this.found = found;
    this.stale = false;
    $("attention-note").textContent = this.note;
    $("heads").dataset.layer = layer;
    if ($("layer").options.length !== layers) $("layer").replaceChildren(...Array.from({ length: layers }, (_, i) => new Option(`${i}${i === 0 ? " (first)" : i === layers - 1 ? " (last)" : ""}`, i, false, i === layer)));
    this.head = Math.min(this.head, weights.length - 1);
    $("heads").replaceChildren(...weights.map((rows, i) => this.picture(rows, i)));
    $("looking").replaceChildren(...tokens.map((token, i) => {
      const start = i === 0 && asked.body.from_start;
      const button = element("button", { type: "button", textContent: start ? "start" : token.text });
      button.classList.toggle("start", start);
      button.classList.toggle("line", !start && token.text.includes("\n"));
      for (const kind of ["mouseenter", "focus", "click"]) button.addEventListener(kind, () => this.point(i));
      button.tabIndex = i === this.at ? 0 : -1;
      return button;
    }));
    this.choose(this.head);
  }

  picture(rows, i) {
    const canvas = element("canvas", { width: rows.length, height: rows.length });
    const pixels = new ImageData(rows.length, rows.length);
    for (const [t, row] of rows.entries()) {
      for (const [s, weight] of row.entries()) pixels.data.set([124, 104, 238, 255 * Math.sqrt(weight)], 4 * (t * rows.length + s));
    }
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    const button = element("button", { type: "button" }, canvas, String(i));
    button.setAttribute("role", "radio");
    button.setAttribute("aria-label", `Head ${i}`);
    button.addEventListener("click", () => this.choose(i));
    return button;
  }

  choose(head) {
    this.head = head;
    for (const [i, button] of [...$("heads").children].entries()) {
      button.setAttribute("aria-checked", String(i === head));
      button.tabIndex = i === head ? 0 : -1;
    }
    this.point(this.at);
  }

  name(i) { return i === 0 && this.found.asked.body.from_start ? "the start" : `“${this.visible(this.found.tokens[i].text)}”`; }

  // Colours the tokens that token `at` looks at.
  point(at) {
    this.at = at;
    const row = this.found.weights[this.head][at];
    for (const [i, button] of [...$("looking").children].entries()) {
      button.style.setProperty("--share", String(row[i] ?? 0));
      button.style.setProperty("--glow", String(Math.sqrt(row[i] ?? 0))); // small weights are seen too
      button.toggleAttribute("aria-current", i === at);
    }
    const most = row.map((weight, i) => [weight, i]).sort(([a], [b]) => b - a).slice(0, 4);
    $("looks-at").textContent = `${this.name(at)} looks at ${most.map(([weight, i]) => `${i === at ? "itself" : this.name(i)} ${percent(weight)}`).join(", ")}`;
  }
}
