// Edits synonyms and thresholds of the labels in the editor; a label's other fields are kept.

import { $, make } from "./dom.js";
import { t } from "./texts.js";

const SHOWN = 100;
let known = new Map(); // by name, as the service returned it or as it was changed here
let changed = false;
let lines = () => [];

export function open(labels, names) {
  known = new Map(labels.map((each) => [each.name, each]));
  changed = false;
  lines = names;
  redraw();
}

export const isChanged = () => changed;

// The labels with these names; a name that is not known becomes a label without other fields.
export function labels(names) {
  return names.map((name) => known.get(name) ?? { name });
}

export function redraw() {
  if (!$("finer").open) return;
  const wanted = $("filter").value.trim().toLowerCase();
  const found = [...new Set(lines())].filter((name) => name.toLowerCase().includes(wanted));
  const rest = found.length - SHOWN;
  $("finer-note").textContent = rest > 0 ? t("finer.rest", { count: rest }) : found.length ? "" : t("finer.empty");
  $("finer-rows").replaceChildren(...found.slice(0, SHOWN).map(row));
}

function row(name) {
  const { synonyms = [], threshold = null } = known.get(name) ?? {};
  const own = make("input", { type: "number", min: 0, max: 100, step: "any", value: threshold === null ? "" : Number((threshold * 100).toFixed(4)), placeholder: t("finer.automatic") });
  const words = make("input", { type: "text", value: synonyms.join(", "), placeholder: t("finer.none"), autocomplete: "off" });
  words.addEventListener("change", () => change(name, "synonyms", words.value.split(",").map((each) => each.trim()).filter(Boolean)));
  own.addEventListener("change", () => change(name, "threshold", own.value === "" ? null : Number(own.value) / 100));
  return make(
    "fieldset",
    {},
    make("legend", { textContent: name }),
    make("label", {}, t("finer.synonyms"), words),
    make("label", {}, t("finer.threshold"), own),
  );
}

function change(name, field, value) {
  known.set(name, { ...(known.get(name) ?? { name }), [field]: value });
  changed = true;
}

// The fields whose threshold is no share, each with what is wrong with it.
export function faults() {
  const fields = [...$("finer-rows").querySelectorAll("input[type=number]")];
  return fields.filter((each) => !each.checkValidity()).map((each) => [each, t("finer.bad-threshold")]);
}

$("finer").addEventListener("toggle", redraw);
$("filter").addEventListener("input", redraw);
