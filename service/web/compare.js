// What stands beside the answer: another vocabulary's, or another checkpoint's.

import { ask, vocabularies } from "./api.js";
import { $, short } from "./dom.js";

const ANSWERS = ["ready", "shadow"];

// The choice of naming nothing: what the service answers then is its surest.
export const NOTHING_NAMED = "*";

// Fills both lists of choices, and leaves what is chosen as it is.
export async function fillChoices() {
  const [known, { checkpoints }] = await Promise.all([vocabularies(), ask("v1/checkpoints")]);
  const named = () => known.map((each) => new Option(`${each.name} (${each.size} labels)`, each.name));
  fill($("vocabulary"), [new Option("my own labels", ""), new Option("whatever is surely there", NOTHING_NAMED), ...named()]);
  const others = checkpoints.filter((each) => ANSWERS.includes(each.state));
  fill($("beside"), [
    new Option("nothing", ""),
    ...group("Another vocabulary", named().map((each) => new Option(each.text, `vocabulary ${each.value}`))),
    ...group("Another checkpoint", others.map((each) => new Option(`${each.bundle ?? "bundled"} (${short(each.id)})`, `checkpoint ${each.id}`))),
  ]);
  return new Map(known.map((each) => [each.name, each]));
}

// The second request's form, from the first one's; null where nothing is compared.
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
