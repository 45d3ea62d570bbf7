// Calibration: sends tags that were marked right or wrong as examples, and shows the report.

import { send } from "./api.js";
import { $, make, percent, tell, telling } from "./dom.js";
import { photographs } from "./photographs.js";

let vocabulary = null;

// Offers marking if the vocabulary can be calibrated. Returns the photograph's marks for this vocabulary, a
// Map from label to verdict; null while marking is off.
export function marksOf(photograph, known) {
  const { name } = photograph.columns[0].answer.vocabulary;
  const offered = photograph.columns[0].fields.has("vocabulary") && known.get(name)?.built_in === false;
  $("calibrate").hidden = !offered;
  if (vocabulary !== name) {
    $("calibration-report").replaceChildren();
    tell($("calibration-status"), "");
  }
  vocabulary = name;
  if (!offered || !$("calibrate").open) return null;
  if (!photograph.marks.has(name)) photograph.marks.set(name, new Map());
  return photograph.marks.get(name);
}

const marked = () => photographs.filter((each) => each.marks.get(vocabulary)?.size);

const photographsOf = (count) => (count === 1 ? "1 photograph" : `${count} photographs`);

async function calibrate(event) {
  event.preventDefault();
  const goal = $("goal").value;
  const chosen = marked();
  if (!chosen.length && goal !== "false-positive-rate") {
    tell($("calibration-status"), "Mark a tag as right or wrong first.", true);
    return;
  }
  const form = new FormData();
  const examples = chosen.map((each) => {
    const marks = [...each.marks.get(vocabulary)];
    const those = (verdict) => marks.filter(([, is]) => is === verdict).map(([label]) => label);
    return { positive: those(true), negative: $("others").checked ? "others" : those(false) };
  });
  for (const each of chosen) form.append("image", each.file, each.file.name);
  form.append("examples", JSON.stringify(examples));
  form.append("goal", goal);
  if (goal !== "f1") form.append("value", String(Number($("goal-value").value) / 100));
  tell($("calibration-status"), "Calibrating …");
  await telling($("calibration-status"), async () => {
    const { content } = await send("POST", `v1/vocabularies/${vocabulary}/calibrate`, form);
    tell($("calibration-status"), `Calibration ${content.vocabulary.calibration}, from ${photographsOf(content.examples)}, is in effect now.`);
    report(content);
    document.dispatchEvent(new CustomEvent("calibrated"));
  });
}

function report({ labels, hygiene }) {
  const told = labels.filter((each) => each.positives + each.negatives || each.threshold !== each.threshold_before);
  const rows = told.map((each) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", textContent: each.label }),
      make("td", { textContent: each.positives }),
      make("td", { textContent: each.negatives }),
      make("td", { textContent: percent(each.threshold_before) }),
      make("td", { textContent: percent(each.threshold) }),
    ),
  );
  const heads = ["Label", "Right", "Wrong", "Before", "Threshold"].map((text) => make("th", { scope: "col", textContent: text }));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  const pairs = (of) => of.map((each) => `${each.first} / ${each.second}`);
  const notes = [
    ["Never present in everyday photographs", hygiene.never],
    ["Present in nearly all everyday photographs", hygiene.always],
    ["Almost the same meaning", pairs(hygiene.near_duplicates)],
    ["Hardly distinguishable", pairs(hygiene.indistinguishable)],
  ];
  $("calibration-report").replaceChildren(
    make("div", { className: "wide", tabIndex: 0, role: "group", "aria-label": "Result of the calibration" }, table),
    ...notes.filter(([, of]) => of.length).map(([what, of]) => make("p", { className: "note", textContent: `${what}: ${of.join(", ")}. Check these labels.` })),
  );
}

export function start(tagAgain) {
  $("calibration").addEventListener("submit", calibrate);
  $("goal").addEventListener("change", () => {
    const goal = $("goal").value;
    $("goal-value").hidden = goal === "f1";
    $("goal-value").value = goal === "false-positive-rate" ? "1" : "90";
  });
  document.addEventListener("marked", () => {
    tell($("calibration-status"), `${photographsOf(marked().length)} marked.`);
  });
  document.addEventListener("calibrated", tagAgain);
}
