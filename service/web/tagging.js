// Tags photographs, lists the results, and shows where in a photograph a label is seen.

import { ask } from "./api.js";
import * as calibration from "./calibration.js";
import { NOTHING_NAMED, besides, fillChoices } from "./compare.js";
import { $, make, short, tell, telling } from "./dom.js";
import { mark, photographs, start as startPhotographs } from "./photographs.js";
import { draw } from "./picture.js";
import * as recipes from "./recipes.js";
import { found } from "./tags.js";

const SHOWN = 60;
let current = null;
let known = new Map();

function asked() {
  const form = new FormData();
  const vocabulary = $("vocabulary").value;
  if (vocabulary === NOTHING_NAMED) return form;
  if (vocabulary) form.append("vocabulary", vocabulary);
  else form.append("labels", $("labels").value);
  return form;
}

function show(photograph) {
  current = photograph;
  mark(photograph);
  $("invitation").hidden = true;
  $("picture").hidden = photograph.image === null;
  $("picture").setAttribute("aria-label", photograph.file.name);
  if (photograph.image) draw($("picture"), photograph.image);
  list();
}

async function tag(photograph) {
  tell($("status"), `Tagging ${photograph.file.name} …`);
  $("drop").setAttribute("aria-busy", "true");
  await telling($("status"), async () => {
    const began = performance.now();
    const fields = asked();
    const other = besides(fields);
    photograph.columns = await Promise.all([fields, ...(other ? [other] : [])].map((each) => column(photograph.file, each)));
    photograph.maps.clear();
    const [{ tags, implied, answer }] = photograph.columns;
    const accepted = [...tags, ...implied].filter((each) => each.accepted).length;
    tell($("status"), `${accepted} of ${answer.vocabulary.size} labels found (${Math.round(performance.now() - began)} ms)`);
    if (photograph === current) list();
  });
  $("drop").removeAttribute("aria-busy");
}

async function column(file, fields) {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  form.append("image", file, file.name);
  // A user who names labels may move the threshold, which needs the labels below it.
  const isBrief = !fields.has("labels") && !fields.has("vocabulary");
  if (!isBrief) form.append("top_k", String(SHOWN));
  const answer = await ask("v1/tag", form);
  const { tags, implied, guesses } = answer.images[0];
  return { fields, answer, isBrief, tags: isBrief ? [...tags, ...guesses] : tags, implied };
}

function list() {
  const { columns } = current;
  $("result").hidden = columns.length === 0;
  $("view-tag").classList.toggle("comparing", columns.length > 1);
  if (columns.length === 0) return;
  const isBrief = columns.every((each) => each.isBrief);
  $("thresholds").hidden = isBrief;
  const chosen = isBrief ? -1 : Number($("threshold").value);
  $("threshold-value").textContent = chosen < 0 ? "each label's own" : `${chosen} %`;
  const fails = (each) => (chosen < 0 ? !each.accepted : each.probability * 100 < chosen);
  const failing = columns.map(({ tags }) => new Set(tags.filter(fails).map((each) => each.label)));
  const marks = calibration.marksOf(current, known);
  const several = columns.length > 1;
  $("lists").replaceChildren(
    ...columns.map((each, index) =>
      make(
        "section",
        { "aria-label": titleOf(each) },
        ...(several ? [make("h3", { textContent: titleOf(each) })] : []),
        ...found(each, {
          title: several ? `Tags: ${titleOf(each)}` : "Tags",
          chosen,
          see: (label) => explain(each, label),
          leave: () => current.image && draw($("picture"), current.image),
          marks: index === 0 ? marks : null,
          failing: several ? failing[1 - index] : new Set(),
        }),
      ),
    ),
  );
  $("made-by").textContent = columns.map(({ answer }) => madeBy(answer)).join(" ");
  recipes.showRecipes(current.file.name, columns[0].fields);
}

function titleOf({ answer, fields }) {
  return fields.has("checkpoint") || current.columns.some((each) => each.fields.has("checkpoint"))
    ? `checkpoint ${short(answer.checkpoint)}`
    : answer.vocabulary.name;
}

function madeBy({ checkpoint, vocabulary: { name, version, calibration: number } }) {
  const of = [name, version === null ? "" : `version ${version}`, number === null ? "" : `calibration ${number}`];
  return `Checkpoint ${short(checkpoint)}, vocabulary ${of.filter(Boolean).join(", ")}.`;
}

async function explain({ fields }, label) {
  const photograph = current;
  if (!photograph.image) return;
  const checkpoint = fields.get("checkpoint");
  const place = JSON.stringify([checkpoint, label]);
  const done = await telling($("status"), async () => {
    if (!photograph.maps.has(place)) {
      const form = new FormData();
      form.append("labels", JSON.stringify([label]));
      if (checkpoint) form.append("checkpoint", checkpoint);
      form.append("image", photograph.file, photograph.file.name);
      photograph.maps.set(place, ask("v1/explain", form));
    }
    const explanation = await photograph.maps.get(place);
    if (photograph !== current) return;
    draw($("picture"), photograph.image, explanation.tags[0].grid, explanation.covers);
    $("picture").dataset.label = label;
    $("picture").setAttribute("aria-label", `${photograph.file.name}, where “${label}” is seen`);
  });
  if (!done) photograph.maps.delete(place);
}

async function tagAll() {
  if (current === null) tell($("status"), "Choose a photograph first.");
  for (const photograph of photographs) await tag(photograph);
}

async function fill() {
  await telling($("status"), async () => {
    known = await fillChoices();
    $("own").hidden = $("vocabulary").value !== "";
  });
}

export function start() {
  startPhotographs((photograph) => {
    show(photograph);
    return tag(photograph);
  }, show);
  recipes.start();
  calibration.start(tagAll);
  $("vocabulary").addEventListener("change", () => ($("own").hidden = $("vocabulary").value !== ""));
  $("threshold").addEventListener("input", list);
  $("calibrate").addEventListener("toggle", list);
  $("asked").addEventListener("submit", (event) => {
    event.preventDefault();
    tagAll();
  });
  document.addEventListener("vocabulary-chosen", async (event) => {
    await fill();
    $("vocabulary").value = event.detail;
    $("own").hidden = true;
    location.hash = "#tag";
    if (current) tagAll();
  });
  for (const event of ["vocabularies-changed", "checkpoints-changed", "key-given"]) document.addEventListener(event, fill);
  fill();
}
