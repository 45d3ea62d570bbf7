// The choices of vocabularies and checkpoints: what to look for, and what to compare it with.

import { ask, vocabularies } from "./api.js";
import { $, make, short } from "./dom.js";
import { t } from "./texts.js";

const USABLE = ["ready", "shadow"];

// Chosen when the user gives no words. The service then returns only tags that it is sure of.
export const NOTHING_NAMED = "*";

// Fills both lists of choices and keeps what is chosen.
export async function fillChoices() {
  const [known, { checkpoints }] = await Promise.all([vocabularies(), ask("v1/checkpoints")]);
  const named = (prefix = "") => known.map((each) => new Option(t("asked.vocabulary", { name: each.name, count: each.size }), prefix + each.name));
  fill($("vocabulary"), [
    new Option(t("asked.everyday"), NOTHING_NAMED),
    new Option(t("asked.own"), ""),
    ...group(t("asked.vocabularies"), named()),
  ]);
  const others = checkpoints.filter((each) => USABLE.includes(each.state));
  fill($("beside"), [
    new Option(t("asked.nothing"), ""),
    ...group(t("asked.other-vocabulary"), named("vocabulary ")),
    ...group(t("asked.other-checkpoint"), others.map((each) => new Option(`${each.bundle ?? t("checkpoints.bundled")} (${short(each.id)})`, `checkpoint ${each.id}`))),
  ]);
}

// The form of the second request, made from that of the first; null if nothing is compared.
export function besides(fields) {
  const [kind, value] = $("beside").value.split(/ (.*)/);
  if (!kind) return null;
  const other = new FormData();
  for (const [name, each] of fields) if (kind === "checkpoint" || !["vocabulary", "labels", "language"].includes(name)) other.append(name, each);
  other.append(kind, value);
  return other;
}

function group(label, options) {
  return options.length ? [make("optgroup", { label }, ...options)] : [];
}

function fill(select, choices) {
  const chosen = select.options.length ? select.value : null;
  select.replaceChildren(...choices);
  select.value = [...select.options].some((each) => each.value === chosen) ? chosen : choices[0].value;
}
