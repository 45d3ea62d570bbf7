// Comparison with the tags of another vocabulary or another checkpoint.

import { ask, vocabularies } from "./api.js";
import { $, short } from "./dom.js";

const USABLE = ["ready", "shadow"];

// The choice to name no labels: the service then returns only what it is sure of.
export const NOTHING_NAMED = "*";

// Fills both lists of choices and keeps what is chosen.
export async function fillChoices() {
  const [known, { checkpoints }] = await Promise.all([vocabularies(), ask("v1/checkpoints")]);
  const named = () => known.map((each) => new Option(`${each.name} (${each.size} labels)`, each.name));
  fill($("vocabulary"), [new Option("my own labels", ""), new Option("everyday words, only if certain", NOTHING_NAMED), ...named()]);
  const others = checkpoints.filter((each) => USABLE.includes(each.state));
  fill($("beside"), [
    new Option("nothing", ""),
    ...group("Another vocabulary", named().map((each) => new Option(each.text, `vocabulary ${each.value}`))),
    ...group("Another checkpoint", others.map((each) => new Option(`${each.bundle ?? "bundled"} (${short(each.id)})`, `checkpoint ${each.id}`))),
  ]);
  return new Map(known.map((each) => [each.name, each]));
}

// The form of the second request, made from that of the first; null if nothing is compared.
export function besides(fields) {
  const [kind, value] = $("beside").value.split(/ (.*)/);
  if (!kind) return null;
  const other = new FormData();
  for (const [name, each] of fields) if (kind === "checkpoint" || !["vocabulary", "labels"].includes(name)) other.append(name, each);
  other.append(kind, value);
  return other;
}

function group(label, options) {
  if (!options.length) return [];
  const element = document.createElement("optgroup");
  element.label = label;
  element.append(...options);
  return [element];
}

function fill(select, choices) {
  const chosen = select.value;
  select.replaceChildren(...choices);
  select.value = [...select.options].some((each) => each.value === chosen) ? chosen : "";
}
