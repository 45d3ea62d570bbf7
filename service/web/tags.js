// A list of tags: bars with probability and threshold, and what may be marked on them.

import { make, percent } from "./dom.js";

// `chosen`: percent from which a tag counts, negative for each label's own. `see(label)` and `leave()` follow
// the pointer and the focus; `marks`: a Map from label to whether it is right, or null for no marking; `failing`:
// labels that do not hold in the list beside this one.
export function tagList(tags, { title, chosen, see, leave, marks, failing }) {
  const rows = tags.map((each) => {
    const holds = chosen < 0 ? each.accepted : each.probability * 100 >= chosen;
    const mark = make("i");
    mark.style.left = `${chosen < 0 ? each.threshold * 100 : chosen}%`;
    const bar = make("progress", { max: 1, value: each.probability });
    const isOnlyHere = holds && failing.has(each.label);
    const row = make(
      "button",
      {
        type: "button",
        className: holds ? "yes" : "no",
        title: `holds from ${percent(each.threshold)} on`,
        on: { pointerenter: () => see(each.label), focus: () => see(each.label), click: () => see(each.label), pointerleave: leave },
      },
      make("span", {}, each.label, ...(isOnlyHere ? [" ", make("small", { textContent: "only here" })] : [])),
      make("span", { className: "bar", "aria-hidden": "true" }, bar, mark),
      make("span", { className: "share", textContent: percent(each.probability) }),
    );
    return make("li", {}, row, ...(marks ? [verdicts(each.label, marks)] : []));
  });
  return make("ol", { className: "tags", "aria-label": title }, ...rows);
}

function verdicts(label, marks) {
  const buttons = [true, false].map((verdict) =>
    make("button", {
      type: "button",
      textContent: verdict ? "✓" : "✗",
      className: verdict ? "right" : "wrong",
      "aria-label": `${label} is ${verdict ? "right" : "wrong"}`,
      "aria-pressed": String(marks.get(label) === verdict),
      on: {
        click: () => {
          if (marks.get(label) === verdict) marks.delete(label);
          else marks.set(label, verdict);
          buttons.forEach((each, index) => each.setAttribute("aria-pressed", String(marks.get(label) === (index === 0))));
          document.dispatchEvent(new CustomEvent("marked"));
        },
      },
    }),
  );
  return make("span", { className: "verdicts" }, ...buttons);
}
