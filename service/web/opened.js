// One photograph opened: its picture, its tags as bars beside it, and where in it a tag is seen.

import { ask } from "./api.js";
import { isAccepted, threshold } from "./asked.js";
import { $, button, make, short, taps, tell, telling } from "./dom.js";
import { mayPass } from "./grid.js";
import { again, photographs, pixels, remove } from "./photographs.js";
import { draw } from "./picture.js";
import * as recipes from "./recipes.js";
import { found } from "./tags.js";
import { t } from "./texts.js";

let current = null;
let image = null;
// The tag whose map stays, by column and label; null if none.
let pinned = null;

// Opens the photograph with this id, or closes the one that is open if there is none.
export function open(id) {
  const wanted = photographs.find((each) => String(each.id) === id) ?? null;
  $("gallery").hidden = wanted !== null;
  $("opened").hidden = wanted === null;
  (wanted === null ? $("grid-thresholds") : $("opened-thresholds")).append($("thresholds"));
  if (wanted === current) return;
  [current, image, pinned] = [wanted, null, null];
  if (wanted) show(wanted);
}

async function show(photograph) {
  $("file").textContent = photograph.file.name;
  tell($("opened-status"), "");
  $("picture").setAttribute("aria-label", photograph.file.name);
  invite();
  list();
  $("file").focus({ preventScroll: true });
  const shown = await pixels(photograph);
  if (photograph !== current) return;
  image = shown;
  $("picture").hidden = image === null;
  $("no-picture").hidden = image !== null;
  plain();
}

// The photograph with the map of the pinned tag, or with none.
function plain() {
  if (!image) return;
  if (pinned) {
    explain(...pinned);
    return;
  }
  draw($("picture"), image);
  invite();
  $("picture").setAttribute("aria-label", current.file.name);
}

// The legend keeps its place while there is no map, so that nothing moves under the pointer.
function invite() {
  $("legend").classList.add("unseen");
  $("legend-label").textContent = current.columns.some((each) => each.tags.length) ? t(taps() ? "opened.tap" : "opened.point") : "";
}

function list() {
  if (!current) return;
  const { state, columns, problem } = current;
  const place = photographs.indexOf(current);
  $("place").textContent = t("opened.place", { place: place + 1, count: photographs.length });
  $("before").disabled = place === 0;
  $("after").disabled = place === photographs.length - 1;
  $("opened").classList.toggle("comparing", columns.length > 1);
  $("result").hidden = state !== "tagged";
  $("opened-retry").hidden = state !== "failed" || !mayPass(current);
  if (state !== "tagged") {
    tell($("opened-status"), problem?.message ?? t(`grid.${state}`, { file: current.file.name }), state === "failed");
    $("lists").replaceChildren();
    return;
  }
  tell($("opened-status"), "");
  if (!pinned) invite();
  const lists = columns.map((each, index) => column(each, index, columns));
  $("lists").replaceChildren(...lists);
  $("made-by").textContent = columns.map(({ answer }) => madeBy(answer)).join(" ");
  recipes.showRecipes(current.file.name, columns[0].fields);
}

function column(each, index, columns) {
  const others = columns.length > 1 ? new Set(columns[1 - index].tags.filter((tag) => !isAccepted(tag)).map((tag) => tag.label)) : new Set();
  const title = titleOf(each, columns);
  const parts = found(each, {
    title: columns.length > 1 ? t("tags.of", { title }) : t("tags.list"),
    limit: threshold(),
    isAccepted,
    onlyHere: others,
    pinned: (label) => pinned !== null && pinned[0] === each && pinned[1] === label,
    see: (label) => explain(each, label),
    leave: plain,
    pin: (label) => pin(each, label),
  });
  return make("section", { "aria-label": title }, columns.length > 1 ? make("h3", { textContent: title }) : null, ...parts);
}

function pin(each, label) {
  const isPinned = pinned !== null && pinned[0] === each && pinned[1] === label;
  pinned = isPinned ? null : [each, label];
  list();
  plain();
  const { top, bottom } = $("stage").getBoundingClientRect();
  if (!isPinned && (top < 0 || bottom > innerHeight)) $("stage").scrollIntoView({ behavior: "smooth", block: "start" });
}

function titleOf({ answer, fields }, columns) {
  return columns.some((each) => each.fields.has("checkpoint")) ? t("tags.checkpoint", { id: short(answer.checkpoint) }) : fields.has("labels") ? t("asked.own") : answer.vocabulary.name;
}

function madeBy({ checkpoint, vocabulary: { name, version, calibration } }) {
  const of = [name, version === null ? "" : t("vocabulary.version", { version }), calibration === null ? "" : t("vocabulary.calibration", { calibration })];
  return t("opened.made-by", { id: short(checkpoint), vocabulary: of.filter(Boolean).join(", ") });
}

async function explain(each, label) {
  const photograph = current;
  if (!image) return;
  const checkpoint = each.fields.get("checkpoint");
  const place = JSON.stringify([checkpoint, label]);
  const done = await telling($("opened-status"), async () => {
    if (!photograph.maps.has(place)) {
      const form = new FormData();
      // Words in the page's language are known to the service only where a vocabulary translates them.
      const { english } = each.tags.find((tag) => tag.label === label);
      form.append("labels", JSON.stringify([english ?? label]));
      if (checkpoint) form.append("checkpoint", checkpoint);
      form.append("image", photograph.file, photograph.file.name);
      photograph.maps.set(place, ask("v1/explain", form));
    }
    const explanation = await photograph.maps.get(place);
    if (photograph !== current || !image) return;
    draw($("picture"), image, explanation.tags[0].grid, explanation);
    $("picture").dataset.label = label;
    $("picture").setAttribute("aria-label", t("opened.where", { file: photograph.file.name, label }));
    $("legend").classList.remove("unseen");
    $("legend-label").textContent = t("legend.label", { label });
  });
  if (!done) photograph.maps.delete(place);
}

function step(by) {
  const next = photographs[photographs.indexOf(current) + by];
  if (next) location.hash = `#tag/${next.id}`;
}

export function start() {
  recipes.start();
  const close = () => (location.hash = "#tag");
  $("close").addEventListener("click", close);
  $("before").addEventListener("click", () => step(-1));
  $("after").addEventListener("click", () => step(1));
  $("opened-retry").append(button("", () => again([current]), { "data-text": "grid.retry", textContent: t("grid.retry") }));
  $("opened-remove").addEventListener("click", () => {
    const gone = current;
    close();
    remove(gone);
  });
  document.addEventListener("keydown", (event) => {
    if (!current || $("view-tag").hidden || event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea, summary")) return;
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) close();
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  document.addEventListener("photograph-changed", ({ detail }) => {
    if (detail === current) pinned = null;
    if (detail === current || detail === null) list();
  });
  for (const event of ["threshold-changed", "language-changed"]) document.addEventListener(event, list);
}
