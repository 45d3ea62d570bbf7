// Takes in photographs: chosen, dropped, pasted, taken, or one of the samples.

import { withCamera } from "./camera.js";
import { $, make } from "./dom.js";
import { add } from "./photographs.js";
import { t } from "./texts.js";

const SAMPLES = ["cat", "coffee", "rocket"];

export function start() {
  for (const id of ["files", "taken"]) {
    $(id).addEventListener("change", () => {
      add([...$(id).files]);
      // Reset, so that the same file can be chosen again.
      $(id).value = "";
    });
  }
  for (const each of document.querySelectorAll(".choose")) each.addEventListener("click", () => $("files").click());
  const isHere = () => !$("view-tag").hidden;
  document.addEventListener("paste", (event) => isHere() && event.clipboardData.files.length && add([...event.clipboardData.files]));
  for (const event of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(event, (drag) => {
      drag.preventDefault();
      const isLeaving = event === "drop" || (event === "dragleave" && drag.relatedTarget === null);
      document.body.classList.toggle("over", isHere() && !isLeaving);
      if (event === "drop" && isHere()) add([...drag.dataTransfer.files]);
    });
  }
  withCamera((file) => add([file]));
  samples();
  document.addEventListener("language-changed", samples);
}

function samples() {
  const shown = SAMPLES.map((name) => {
    const path = `web/sample-${name}.jpg`;
    const take = async () => add([new File([await (await fetch(path)).blob()], `${name}.jpg`, { type: "image/jpeg" })]);
    return make("li", {}, make("button", { type: "button", "aria-label": t(`sample.${name}`), on: { click: take } }, make("img", { src: path, alt: "" })));
  });
  $("samples").replaceChildren(...shown);
}
