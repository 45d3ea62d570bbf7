// A field in which words become chips: with Enter or a comma, and on leaving it. Backspace takes the last one back.

import { make } from "./dom.js";
import { t } from "./texts.js";

export class Chips {
  // `box`: an element that contains the text field.
  constructor(box, words) {
    this.box = box;
    this.field = box.querySelector("input");
    this.words = words;
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "," || (event.key === "Enter" && this.field.value.trim())) {
        event.preventDefault();
        this.take();
      } else if (event.key === "Backspace" && !this.field.value) {
        this.field.value = this.words.pop() ?? "";
        event.preventDefault();
        this.draw();
      }
    });
    this.field.addEventListener("input", () => /[,\n]/.test(this.field.value) && this.take());
    this.field.addEventListener("change", () => this.take());
    box.addEventListener("click", (event) => event.target === box && this.field.focus());
    document.addEventListener("language-changed", () => this.draw());
    this.draw();
  }

  // Makes chips of what is typed.
  take() {
    const typed = this.field.value.split(/[,\n]/).map((each) => each.trim().replace(/\s+/g, " "));
    for (const word of typed) {
      if (word && !this.words.some((each) => each.toLowerCase() === word.toLowerCase())) this.words.push(word);
    }
    this.field.value = "";
    this.draw();
  }

  draw() {
    for (const each of this.box.querySelectorAll(".chip")) each.remove();
    const chips = this.words.map((word) => {
      const drop = () => {
        this.words.splice(this.words.indexOf(word), 1);
        this.draw();
        this.field.focus();
      };
      const cross = make("button", { type: "button", textContent: "×", "aria-label": t("chips.remove", { word }), on: { click: drop } });
      return make("span", { className: "chip" }, word, cross);
    });
    this.field.before(...chips);
  }
}
