// Improves a vocabulary: the service suggests which photographs to mark, they are marked by keyboard, and calibrate it.

import { ask, patiently, Problem, send, vocabularies } from "./api.js";
import { report } from "./calibration_report.js";
import { $, confirmed, tell, telling, valid } from "./dom.js";
import { Marking } from "./marking.js";
import { photographs } from "./photographs.js";
import { t } from "./texts.js";
import { onShow } from "./views.js";

const AT_ONCE = 3;
// A service keeps at least so many photographs in one request.
const SENT_AT_ONCE = 16;
const PICTURE = /^image\/|^$/;
// Errors that every photograph would meet: no connection, no key, no vocabulary.
const HOLDS_FOR_ALL = [0, 401, 403, 404];
let known = [];
let marking = null;
let files = [];
let isChosen = false;

async function fill() {
  await telling($("improve-status"), async () => {
    known = (await vocabularies()).filter((each) => !each.built_in);
    if (marking === null) tell($("improve-status"), "");
    // Whoever comes from photographs means the words that these were tagged with.
    const chosen = isChosen ? $("improved").value : $("vocabulary").value;
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
  $("improve-files").textContent = files.length ? t("improve.chosen", { count: files.length }) : "";
}

// Has every photograph weighed, and then asks which ones to mark.
async function begin() {
  if (!valid($("improve-choose"), new Map(files.length ? [] : [[$("choose-folder"), t("improve.no-photographs")]]))) return;
  const name = $("improved").value;
  $("suggest").disabled = true;
  const { candidates, unusable, reason } = await weighed(name, [...files]);
  $("suggest").disabled = false;
  if (!candidates.length) {
    tell($("improve-status"), reason, true);
    return;
  }
  await telling($("improve-status"), async () => {
    const body = { embeddings: candidates.map((each) => each.embedding), doubts: candidates.map((each) => each.doubt) };
    const { suggested } = (await send("POST", `${pathOf(name)}/suggest`, body)).content;
    const advice = suggested.length === candidates.length ? "improve.suggested-all" : "improve.suggested";
    const told = [t(advice, { count: suggested.length, of: candidates.length }), unusable ? t("improve.unusable", { count: unusable, reason }) : ""];
    tell($("improve-status"), told.filter(Boolean).join(" "));
    mark(name, suggested.map((place) => candidates[place]));
  });
}

// { candidates, unusable, reason }: the candidates, each with its file, how many files cannot be used, and the last reason. There are
// no candidates if something keeps all of them from being weighed.
async function weighed(name, given) {
  const candidates = [];
  const places = given.keys();
  let [done, unusable, reason, isStopped] = [0, 0, "", false];
  [$("improve-overall").hidden, $("improve-overall").max, $("improve-overall").value] = [false, given.length, 0];
  const work = async () => {
    for (const place of places) {
      if (isStopped) return;
      const form = new FormData();
      form.append("image", given[place], given[place].name);
      try {
        candidates.push({ file: given[place], ...(await patiently(() => ask(`${pathOf(name)}/candidates`, form))).images[0] });
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        [unusable, reason, isStopped] = [unusable + 1, error.message, isStopped || HOLDS_FOR_ALL.includes(error.status)];
      }
      done += 1;
      $("improve-overall").value = done;
      tell($("improve-status"), t("improve.looking", { done, count: given.length }));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  $("improve-overall").hidden = true;
  return { candidates: isStopped ? [] : candidates, unusable, reason };
}

const pathOf = (name) => `v1/vocabularies/${encodeURIComponent(name)}`;

function mark(name, candidates) {
  $("improve-choose").hidden = $("improve-lead").hidden = true;
  $("improve-marking").hidden = false;
  $("calibration-report").replaceChildren();
  tell($("calibration-status"), "");
  $("calibrate").disabled = true;
  $("use-improved").hidden = true;
  marking = new Marking(name, candidates, { changed: mayCalibrate, finished });
}

function finished() {
  tell($("calibration-status"), t("improve.finished"));
  $("calibrate").focus();
}

// After a calibration there is nothing to calibrate until another mark or goal is chosen.
function mayCalibrate(isOtherGoal = false) {
  if (marking && (marking.isChanged || isOtherGoal)) $("calibrate").disabled = marking.marked().length === 0;
}

async function calibrate() {
  const goal = $("goal").value;
  const marked = marking.marked();
  const share = Number($("goal-value").value) / 100;
  const isShare = goal === "f1" || (share > 0 && share < 1);
  if (!valid($("calibration"), new Map(isShare ? [] : [[$("goal-value"), t("improve.bad-share")]]))) return;
  tell($("calibration-status"), t("improve.calibrating"));
  $("calibrate").disabled = true;
  marking.isChanged = false;
  const isDone = await telling($("calibration-status"), async () => {
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
    tell($("calibration-status"), t("improve.calibrated", { name: marking.name, count: content.examples }));
    $("calibration-report").replaceChildren(...report(content));
    $("use-improved").hidden = false;
    $("use-improved").focus({ preventScroll: true });
    $("calibration").scrollIntoView({ behavior: "smooth" });
    document.dispatchEvent(new CustomEvent("vocabularies-changed"));
  });
  if (isDone) return;
  marking.isChanged = true;
  $("calibrate").disabled = false;
}

// Returns whether it began again: not if the reader would rather keep marks that are not calibrated yet.
async function restart() {
  if (marking?.isChanged && !(await confirmed(t("improve.discard?"), t("improve.discard-text", { count: marking.marked().length }), t("improve.discard")))) return false;
  marking?.end();
  marking = null;
  $("improve-marking").hidden = true;
  tell($("improve-status"), "");
  await fill();
  return true;
}

export function start() {
  $("improved").addEventListener("change", () => (isChosen = true));
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
  $("calibration").addEventListener("input", () => mayCalibrate(true));
  $("restart").addEventListener("click", restart);
  $("use-improved").addEventListener("click", () => document.dispatchEvent(new CustomEvent("vocabulary-chosen", { detail: marking.name })));
  document.addEventListener("improve", async ({ detail }) => {
    if (await restart()) [$("improved").value, isChosen] = [detail, true];
    location.hash = "#improve";
  });
  addEventListener("beforeunload", (event) => marking?.isChanged && event.preventDefault());
  document.addEventListener("language-changed", fill);
  onShow("improve", fill);
}
