// Edits synonyms and thresholds of the labels in the editor; a label's other fields are kept.

import { $, make } from "./dom.js";

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
  $("finer-note").textContent = rest > 0 ? `${rest} more labels. Use the filter above to find them.` : found.length ? "" : "No labels yet.";
  $("finer-rows").replaceChildren(...found.slice(0, SHOWN).map(row));
}

function row(name) {
  const { synonyms = [], threshold = null } = known.get(name) ?? {};
  const own = make("input", { type: "number", min: 0, max: 100, step: "any", value: threshold === null ? "" : Number((threshold * 100).toFixed(4)), placeholder: "automatic" });
  const words = make("input", { type: "text", value: synonyms.join(", "), placeholder: "none", autocomplete: "off" });
  words.addEventListener("change", () => change(name, "synonyms", words.value.split(",").map((each) => each.trim()).filter(Boolean)));
  own.addEventListener("change", () => change(name, "threshold", own.value === "" ? null : Number(own.value) / 100));
  return make(
    "fieldset",
    {},
    make("legend", { textContent: name }),
    make("label", {}, "Synonyms, separated by commas", words),
    make("label", {}, "Threshold in percent", own),
  );
}

function change(name, field, value) {
  known.set(name, { ...(known.get(name) ?? { name }), [field]: value });
  changed = true;
}

$("finer").addEventListener("toggle", redraw);
$("filter").addEventListener("input", redraw);
