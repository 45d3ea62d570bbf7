// The photographs of this visit: chosen, dropped, pasted or taken.

import { $, make } from "./dom.js";
import { withCamera } from "./camera.js";

export const photographs = [];

// Calls `added` with each new photograph and `chosen` with one that is clicked. A photograph is
// { file, image, columns, maps, marks, button }.
export function start(added, chosen) {
  const add = async (files) => {
    for (const file of files) await added(await enter(file, chosen));
  };
  for (const id of ["files", "taken"]) {
    $(id).addEventListener("change", async () => {
      await add([...$(id).files]);
      // Reset, so that the same file can be chosen again.
      $(id).value = "";
    });
  }
  document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
  for (const event of ["dragenter", "dragover", "dragleave", "drop"]) {
    $("drop").addEventListener(event, (drag) => {
      drag.preventDefault();
      $("drop").classList.toggle("over", event === "dragenter" || event === "dragover");
    });
  }
  $("drop").addEventListener("drop", (event) => add([...event.dataTransfer.files]));
  withCamera((file) => add([file]));
}

export function mark(current) {
  for (const each of photographs) each.button.setAttribute("aria-current", String(each === current));
}

async function enter(file, chosen) {
  const photograph = { file, image: null, columns: [], maps: new Map(), marks: new Map() };
  try {
    photograph.image = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    // The browser may not support a format that the service does, or vice versa; the service decides.
  }
  const small = make("img", { alt: file.name, src: URL.createObjectURL(file) });
  photograph.button = make("button", { type: "button", on: { click: () => chosen(photograph) } }, small);
  photographs.push(photograph);
  $("strip").append(make("li", {}, photograph.button));
  $("strip").hidden = false;
  return photograph;
}
