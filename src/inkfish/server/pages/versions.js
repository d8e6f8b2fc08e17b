// Every version of a text in a tree: what was typed, written, chosen. Undo goes to the parent, redo back again.
const MOST = 300;

export class Versions {
  // Begins with an empty text, or with what `kept` returned.
  constructor(kept) {
    this.all = new Map((kept?.nodes ?? []).map((each) => [each.id, each]));
    this.current = kept?.current ?? 0;
    if (this.all.has(this.current)) return;
    this.all.clear();
    this.current = this.add("", 0, "");
  }

  get here() { return this.all.get(this.current); }
  get root() { return [...this.all.values()].find((each) => !each.parent); }

  kept() { return { nodes: [...this.all.values()], current: this.current }; }

  // Adds a version that follows the present one, and returns its id.
  add(text, caret, label) {
    const id = Math.max(0, ...this.all.keys()) + 1;
    const parent = this.here ? this.current : 0;
    this.here?.children.push(id);
    this.all.set(id, { id, parent, text, caret, label, children: [], visited: 0 });
    while (this.all.size > MOST && this.forget());
    return id;
  }

  // Forgets the oldest version that nothing follows, but none that follows the present one; else the beginning.
  forget() {
    const { current } = this;
    const leaf = [...this.all.values()].find(({ id, parent, children }) => !children.length && id !== current && parent !== current);
    if (leaf) {
      const { children } = this.all.get(leaf.parent);
      children.splice(children.indexOf(leaf.id), 1);
      return this.all.delete(leaf.id);
    }
    const { root } = this;
    if (root.id === this.current || root.children.length > 1) return false;
    this.all.get(root.children[0]).parent = 0;
    return this.all.delete(root.id);
  }

  go(id) {
    this.current = id;
    const { parent } = this.here;
    if (parent) this.all.get(parent).visited = id;
    return this.here;
  }

  // Where redo goes: the child that was looked at last.
  get next() {
    const { children, visited } = this.here;
    return children.includes(visited) ? visited : children.at(-1);
  }

  // What a version changed, in a few words.
  summary({ parent, text, label }) {
    if (!parent) return "the beginning";
    const before = this.all.get(parent).text;
    let start = 0;
    while (start < before.length && before[start] === text[start]) start++;
    const words = text.slice(start, start + 80).replace(/\s+/g, " ").trim();
    return `${label}: ${words || "(shorter)"}`;
  }
}
