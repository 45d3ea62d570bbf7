// What to look for: everyday words, one's own words or a vocabulary; what to compare it with; from which probability on.

import { ask } from "./api.js";
import { Chips } from "./chips.js";
import { besides, fillChoices, NOTHING_NAMED } from "./compare.js";
import { $, tell, telling, valid } from "./dom.js";
import { again, photographs } from "./photographs.js";
import { language, percent, t } from "./texts.js";

// So many of a vocabulary's words are listed, the most probable ones.
const LISTED = 60;
let words = null;
let isOwn = true;

// The columns of results of one photograph: one, or two that are compared. Throws Problem.
export async function columnsOf(file) {
  const fields = asked();
  const other = besides(fields);
  return Promise.all([fields, ...(other ? [other] : [])].map((each) => column(file, each)));
}

// The threshold for all words, 0..1, or null for each word's own.
export function threshold() {
  return isOwn ? null : Number($("threshold").value) / 100;
}

// Whether a tag is accepted at the threshold that is set.
export function isAccepted(tag) {
  const limit = threshold();
  return limit === null ? tag.accepted : tag.probability >= limit;
}

function asked() {
  const form = new FormData();
  const vocabulary = $("vocabulary").value;
  if (vocabulary === NOTHING_NAMED) return form;
  if (vocabulary) form.append("vocabulary", vocabulary);
  else {
    form.append("labels", JSON.stringify(words.words));
    // The service looks for words of another language by their English names.
    if (language !== "en") form.append("language", language);
  }
  return form;
}

async function column(file, fields) {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  form.append("image", file, file.name);
  // The threshold can be moved only where words are named, and this needs the words below it.
  const isBrief = !fields.has("labels") && !fields.has("vocabulary");
  if (!isBrief) form.append("top_k", String(LISTED));
  const answer = await ask("v1/tag", form);
  const { tags, implied, guesses } = answer.images[0];
  return { fields, answer, isBrief, tags: isBrief ? [...tags, ...guesses] : tags, implied };
}

function redraw() {
  $("own").hidden = $("vocabulary").value !== "";
  $("thresholds").hidden = !photographs.length || $("vocabulary").value === NOTHING_NAMED;
  const limit = threshold();
  $("threshold").classList.toggle("unset", isOwn);
  $("own-thresholds").hidden = isOwn;
  $("threshold-value").textContent = limit === null ? t("threshold.own") : percent(limit);
  $("threshold").setAttribute("aria-valuetext", $("threshold-value").textContent);
}

function submit() {
  words.take();
  const isMissing = $("vocabulary").value === "" && !words.words.length;
  if (valid($("asked"), new Map(isMissing ? [[$("labels"), t("asked.no-words")]] : []))) again();
  redraw();
}

async function fill() {
  await telling($("status"), async () => {
    await fillChoices();
    tell($("status"), "");
  });
  redraw();
}

export function start() {
  words = new Chips($("words"), t("asked.first-words").split(", "));
  $("asked").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  $("vocabulary").addEventListener("change", () => {
    redraw();
    if ($("vocabulary").value === "") $("labels").focus();
    else submit();
  });
  $("beside").addEventListener("change", submit);
  const change = (own) => {
    isOwn = own;
    redraw();
    document.dispatchEvent(new CustomEvent("threshold-changed"));
  };
  $("threshold").addEventListener("input", () => change(false));
  $("own-thresholds").addEventListener("click", () => {
    $("threshold").focus();
    change(true);
  });
  document.addEventListener("photograph-changed", redraw);
  document.addEventListener("vocabulary-chosen", async (event) => {
    await fill();
    $("vocabulary").value = event.detail;
    redraw();
    location.hash = "#tag";
    again();
  });
  // Tags are named in the language of the page.
  document.addEventListener("language-changed", () => again());
  for (const event of ["vocabularies-changed", "checkpoints-changed", "key-given", "language-changed"]) document.addEventListener(event, fill);
  fill();
}
