// What a calibration has changed: the gain, each word's threshold, and words that need a look.

import { make, table } from "./dom.js";
import { listed, percent, t } from "./texts.js";

// Returns elements for a CalibrationReport.
export function report({ labels, hygiene, gain }) {
  const told = labels.filter((each) => each.positives + each.negatives || each.threshold !== each.threshold_before);
  const heads = ["label", "right", "wrong", "before", "threshold"].map((each) => t(`report.${each}`));
  const rows = told.map((each) => [each.label, each.positives, each.negatives, percent(each.threshold_before), percent(each.threshold)]);
  const pairs = (of) => of.map((each) => `${each.first} / ${each.second}`);
  const contradicted = labels.filter((each) => each.overruled).map((each) => `${each.label} (${each.overruled})`);
  const notes = { contradicted, never: hygiene.never, always: hygiene.always, duplicates: pairs(hygiene.near_duplicates), alike: pairs(hygiene.indistinguishable) };
  return [
    gain ? make("p", { className: "gain" }, make("strong", { textContent: t("report.gain", { before: percent(gain.before), after: percent(gain.after) }) }), " ", t("report.gain-note")) : null,
    table(t("report.name"), heads, rows),
    ...Object.entries(notes).filter(([, words]) => words.length).map(([what, words]) => make("p", { className: "note", textContent: t(`report.${what}`, { words: listed(words) }) })),
  ].filter(Boolean);
}
