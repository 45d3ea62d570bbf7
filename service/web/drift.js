// The drift report: how a shadow's tags differ from the active checkpoint's.

import { make, percent } from "./dom.js";

const SHOWN = 20;

const signed = (share) => `${share > 0 ? "+" : ""}${(share * 100).toFixed(1)} %`;

export function driftReport(drift, isOpen) {
  const report = make("div", { className: "drift" });
  if (!drift.photographs) {
    report.append(make("p", { className: "note", textContent: "No photographs have been compared yet. Tag some to see the drift." }));
  } else {
    const facts = {
      "Photographs compared": drift.photographs,
      "Changed tags": percent(drift.changed_tags),
      "Mean change of probabilities": percent(drift.probability_change),
      "Time in the model": drift.latency_ratio === null ? "not known yet" : `${drift.latency_ratio.toFixed(2)} times`,
      "Calibration error": drift.calibration_error === null ? "no examples" : percent(drift.calibration_error),
      Failures: drift.failures,
    };
    report.append(
      make("dl", { className: "facts" }, ...Object.entries(facts).map(([name, value]) => make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value })))),
    );
  }
  for (const limit of drift.exceeded) report.append(make("p", { className: "bad", textContent: `Limit exceeded: ${limit}.` }));
  const changed = drift.labels.filter((each) => each.changed_tags || each.probability_shift).slice(0, SHOWN);
  if (changed.length) report.append(labels(changed, drift.checkpoint, isOpen));
  return report;
}

function labels(changed, id, isOpen) {
  const rows = changed.map((each) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", textContent: each.label }),
      make("td", { textContent: each.vocabulary }),
      make("td", { textContent: percent(each.changed_tags) }),
      make("td", { textContent: signed(each.probability_shift) }),
    ),
  );
  const heads = ["Label", "Vocabulary", "Changed tags", "Probability"].map((text) => make("th", { scope: "col", textContent: text }));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  const box = make("div", { className: "wide", tabIndex: 0, role: "group", "aria-label": "Labels that change most" }, table);
  return make("details", { open: isOpen, "data-of": id }, make("summary", { textContent: "Labels that change most" }), box);
}
