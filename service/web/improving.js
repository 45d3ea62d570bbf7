// Improves a vocabulary: the service suggests which photographs to mark, they are marked by keyboard, and calibrate it.

import { ask, patiently, send, vocabularies } from "./api.js";
import { report } from "./calibration_report.js";
import { $, make, tell, telling, valid } from "./dom.js";
import { Marking } from "./marking.js";
import { photographs } from "./photographs.js";
import { t } from "./texts.js";
import { onShow } from "./views.js";

const AT_ONCE = 3;
// A service keeps at least so many photographs in one request.
const SENT_AT_ONCE = 16;
const PICTURE = /^image\/|^$/;
let known = [];
let marking = null;
let files = [];

async function fill() {
  await telling($("improve-status"), async () => {
    known = (await vocabularies()).filter((each) => !each.built_in);
    const chosen = $("improved").value;
    $("improved").replaceChildren(...known.map((each) => new Option(t("asked.vocabulary", { name: each.name, count: each.size }), each.name)));
    if (known.some((each) => each.name === chosen)) $("improved").value = chosen;
    $("improve-lead").hidden = marking !== null;
    $("improve-none").hidden = known.length > 0;
    $("improve-choose").hidden = known.length === 0 || marking !== null;
    $("use-shown").hidden = photographs.length === 0;
    $("use-shown").textContent = t("improve.use-shown", { count: photographs.length });
  });
}

function choose(given) {
  files = [...given].filter((each) => PICTURE.test(each.type));
  $("improve-files").textContent = files.length ? t("grid.photographs", { count: files.length }) : "";
}

// Has every photograph weighed, and then asks which ones to mark.
async function begin() {
  if (!valid($("improve-choose"), new Map(files.length ? [] : [[$("choose-folder"), t("improve.no-photographs")]]))) return;
  const name = $("improved").value;
  $("suggest").disabled = true;
  const candidates = await weighed(name, [...files]);
  $("suggest").disabled = false;
  if (!candidates.length) return;
  await telling($("improve-status"), async () => {
    const body = { embeddings: candidates.map((each) => each.embedding), doubts: candidates.map((each) => each.doubt) };
    const { suggested } = (await send("POST", `${pathOf(name)}/suggest`, body)).content;
    tell($("improve-status"), t("improve.suggested", { count: suggested.length, of: candidates.length }));
    mark(name, suggested.map((place) => candidates[place]));
  });
}

// The candidates, each with its file. A file that cannot be used is left out, and the last reason stays on the page.
async function weighed(name, given) {
  const found = [];
  const places = given.keys();
  let done = 0;
  [$("improve-overall").hidden, $("improve-overall").max, $("improve-overall").value] = [false, given.length, 0];
  const work = async () => {
    for (const place of places) {
      const form = new FormData();
      form.append("image", given[place], given[place].name);
      await telling($("improve-status"), async () => {
        found.push({ file: given[place], ...(await patiently(() => ask(`${pathOf(name)}/candidates`, form))).images[0] });
        tell($("improve-status"), t("improve.looking", { done: done + 1, count: given.length }));
      });
      done += 1;
      $("improve-overall").value = done;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  $("improve-overall").hidden = true;
  return found;
}

const pathOf = (name) => `v1/vocabularies/${encodeURIComponent(name)}`;

function mark(name, candidates) {
  $("improve-choose").hidden = $("improve-lead").hidden = true;
  $("improve-marking").hidden = false;
  $("calibration-report").replaceChildren();
  marking = new Marking(candidates, { changed: (marked) => ($("calibrate").disabled = marked === 0), finished: () => $("calibrate").focus() });
  marking.name = name;
}

async function calibrate() {
  const goal = $("goal").value;
  const marked = marking.marked();
  const share = Number($("goal-value").value) / 100;
  const isShare = goal === "f1" || (share > 0 && share < 1);
  if (!valid($("calibration"), new Map(isShare ? [] : [[$("goal-value"), t("improve.bad-share")]]))) return;
  tell($("improve-status"), t("improve.calibrating"));
  $("calibrate").disabled = true;
  await telling($("improve-status"), async () => {
    let content = null;
    for (let start = 0; start < marked.length; start += SENT_AT_ONCE) {
      const form = new FormData();
      const some = marked.slice(start, start + SENT_AT_ONCE);
      for (const { file } of some) form.append("image", file, file.name);
      form.append("examples", JSON.stringify(some.map(({ positive, negative }) => ({ positive, negative }))));
      form.append("goal", goal);
      if (goal !== "f1") form.append("value", String(share));
      ({ content } = await send("POST", `${pathOf(marking.name)}/calibrate`, form));
    }
    tell($("improve-status"), t("improve.calibrated", { calibration: content.vocabulary.calibration, count: content.examples }));
    $("calibration-report").replaceChildren(...report(content));
    $("calibration-report").scrollIntoView({ behavior: "smooth", block: "nearest" });
    document.dispatchEvent(new CustomEvent("vocabularies-changed"));
  });
  $("calibrate").disabled = false;
}

function restart() {
  marking?.end();
  marking = null;
  $("improve-marking").hidden = true;
  tell($("improve-status"), "");
  fill();
}

export function start() {
  $("choose-folder").addEventListener("click", () => $("folder").click());
  $("choose-some").addEventListener("click", () => $("some").click());
  for (const id of ["folder", "some"]) $(id).addEventListener("change", () => choose($(id).files));
  $("use-shown").addEventListener("click", () => choose(photographs.map((each) => each.file)));
  $("improve-choose").addEventListener("submit", (event) => {
    event.preventDefault();
    begin();
  });
  $("calibration").addEventListener("submit", (event) => {
    event.preventDefault();
    calibrate();
  });
  $("goal").addEventListener("change", () => {
    $("goal-value-field").hidden = $("goal").value === "f1";
    $("goal-value").value = $("goal").value === "false-positive-rate" ? "1" : "90";
  });
  $("restart").addEventListener("click", restart);
  $("use-improved").addEventListener("click", () => document.dispatchEvent(new CustomEvent("vocabulary-chosen", { detail: marking.name })));
  document.addEventListener("improve", async ({ detail }) => {
    restart();
    await fill();
    $("improved").value = detail;
    location.hash = "#improve";
  });
  for (const event of ["language-changed", "key-given"]) document.addEventListener(event, fill);
  onShow("improve", fill);
}
