// Marks photographs one after the other: for each word of the vocabulary yes, no or nothing, by keyboard or by hand.

import { preview } from "./api.js";
import { $, make } from "./dom.js";
import { t } from "./texts.js";

const KEYS = { y: "yes", j: "yes", n: "no", s: "skip", ArrowDown: "skip", ArrowUp: "up", Enter: "rest", ArrowRight: "next", ArrowLeft: "back" };

export class Marking {
  // `name`: that of the vocabulary. `candidates`: { file, likely } in the order in which they are marked. `changed()` is told of every step, `finished()`
  // that the last one is done. `isChanged` is whether there are marks that nobody has saved; whoever saves them clears it.
  constructor(name, candidates, { changed, finished }) {
    this.name = name;
    this.candidates = candidates.map((each) => ({ file: each.file, words: each.likely, marks: new Map() }));
    [this.changed, this.finished] = [changed, finished];
    [this.place, this.row, this.isChanged] = [0, 0, false];
    this.ending = new AbortController();
    const { signal } = this.ending;
    document.addEventListener("keydown", (event) => this.press(event), { signal });
    document.addEventListener("language-changed", () => this.draw(), { signal });
    for (const [id, act] of [["mark-rest", "rest"], ["mark-next", "next"], ["mark-back", "back"]]) $(id).addEventListener("click", () => this.act(act), { signal });
    this.show();
  }

  end() {
    this.ending.abort();
  }

  // The photographs with marks: { file, positive, negative }.
  marked() {
    const those = (marks, verdict) => [...marks].filter(([, is]) => is === verdict).map(([label]) => label);
    return this.candidates.filter(({ marks }) => marks.size).map(({ file, marks }) => ({ file, positive: those(marks, true), negative: those(marks, false) }));
  }

  press(event) {
    const isElsewhere = $("view-improve").hidden || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea");
    // On a button, Enter presses it.
    if (isElsewhere || (event.key === "Enter" && event.target.matches("button, a, summary"))) return;
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    this.act(act);
  }

  act(what) {
    const { words, marks } = this.candidates[this.place];
    if (what === "yes" || what === "no") this.set(this.row, what === "yes");
    else if (what === "skip") this.down();
    else if (what === "up") this.row = Math.max(0, this.row - 1);
    else if (what === "rest") {
      for (const word of words) if (!marks.has(word)) this.put(word, false);
      this.go(1);
    } else this.go(what === "next" ? 1 : -1);
    this.draw();
  }

  set(row, verdict) {
    this.put(this.candidates[this.place].words[row], verdict);
    this.row = row;
    this.down();
  }

  // `verdict`: whether the word applies, or null to take the mark back.
  put(word, verdict) {
    const { marks } = this.candidates[this.place];
    if (verdict === null) marks.delete(word);
    else marks.set(word, verdict);
    this.isChanged = true;
  }

  down() {
    if (this.row < this.candidates[this.place].words.length - 1) this.row += 1;
    else this.go(1);
  }

  go(by) {
    const next = this.place + by;
    this.isFinished = next >= this.candidates.length;
    if (this.isFinished) this.finished();
    if (next < 0 || this.isFinished) return;
    [this.place, this.row] = [next, 0];
    this.show();
  }

  show() {
    const { file } = this.candidates[this.place];
    const picture = $("marked-picture");
    URL.revokeObjectURL(picture.src);
    picture.alt = file.name;
    picture.onerror = async () => {
      picture.onerror = null;
      const shown = await preview(file).catch(() => null);
      if (shown && picture.alt === file.name) picture.src = URL.createObjectURL(shown);
    };
    picture.src = URL.createObjectURL(file);
    this.draw();
    // On a phone the buttons are below the list, and the next picture would stay above the screen.
    picture.scrollIntoView({ block: "nearest" });
  }

  draw() {
    const { words, marks } = this.candidates[this.place];
    const done = this.candidates.filter((each) => each.marks.size).length;
    $("marking-place").textContent = t("improve.place", { name: this.name, place: this.place + 1, count: this.candidates.length, done });
    [$("marking-overall").max, $("marking-overall").value] = [this.candidates.length, done];
    $("mark-back").disabled = this.place === 0;
    $("marks").replaceChildren(...words.map((word, row) => this.word(word, row, marks)));
    // After the last answer, the button that uses the answers is to stay on the screen.
    if (!this.isFinished) $("marks").children[this.row].scrollIntoView({ block: "nearest" });
    this.changed();
  }

  word(word, row, marks) {
    const verdicts = [true, false].map((verdict) => {
      const name = verdict ? "yes" : "no";
      const toggle = () => {
        if (marks.get(word) === verdict) this.put(word, null);
        else this.set(row, verdict);
        this.draw();
      };
      return make("button", { type: "button", className: name, textContent: t(`improve.${name}`), "aria-label": t(`improve.${name}-word`, { word }), "aria-pressed": String(marks.get(word) === verdict), on: { click: toggle } });
    });
    return make("li", { "aria-current": String(row === this.row) }, make("span", { textContent: word }), ...verdicts);
  }
}
