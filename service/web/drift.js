// The drift report: how a shadow's tags differ from the active checkpoint's.

import { make, table } from "./dom.js";
import { decimal, percent, t } from "./texts.js";

const SHOWN = 20;

export function driftReport(drift, isOpen) {
  const report = make("div", { className: "drift" });
  if (!drift.photographs) {
    report.append(make("p", { className: "note", textContent: t("drift.none") }));
  } else {
    const facts = {
      photographs: drift.photographs,
      changed: percent(drift.changed_tags),
      shift: percent(drift.probability_change),
      time: drift.latency_ratio === null ? t("drift.unknown") : t("drift.times", { ratio: decimal(drift.latency_ratio, 2) }),
      error: drift.calibration_error === null ? t("drift.no-examples") : percent(drift.calibration_error),
      failures: drift.failures,
    };
    const entry = ([name, value]) => make("div", {}, make("dt", { textContent: t(`drift.${name}`) }), make("dd", { textContent: value }));
    report.append(make("dl", { className: "facts" }, ...Object.entries(facts).map(entry)));
  }
  for (const limit of drift.exceeded) report.append(make("p", { className: "bad", textContent: t("drift.exceeded", { limit }) }));
  const changed = drift.labels.filter((each) => each.changed_tags || each.probability_shift).slice(0, SHOWN);
  if (changed.length) report.append(labels(changed, drift.checkpoint, isOpen));
  return report;
}

function labels(changed, id, isOpen) {
  const signed = (share) => `${share > 0 ? "+" : ""}${decimal(share * 100)} %`;
  const heads = ["label", "vocabulary", "changed", "probability"].map((each) => t(`drift.${each}`));
  const rows = changed.map((each) => [each.label, each.vocabulary, percent(each.changed_tags), signed(each.probability_shift)]);
  return make("details", { open: isOpen, "data-of": id }, make("summary", { textContent: t("drift.most") }), table(t("drift.most"), heads, rows));
}
