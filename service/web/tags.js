// Lists of tags: bars with probability and threshold, and buttons that mark tags as right or wrong.

import { make, percent } from "./dom.js";

const GUESSES = 3;
// Whether the labels that were not found are unfolded; they stay so while the threshold moves.
let unfolded = false;

// Returns elements: the accepted tags, or a message and three guesses if none is accepted; the implied labels;
// the other labels, folded; and warnings about labels that the checkpoint cannot judge.
//
// `chosen`: the threshold in percent, negative for each label's own. `see(label)` and `leave()` follow the
// pointer and the focus. `marks`: a Map from label to whether it is right, or null if marking is off. `failing`:
// labels that are not accepted in the list beside this one.
export function found({ tags, implied, answer }, { title, chosen, see, leave, marks, failing }) {
  const isAccepted = (each) => (chosen < 0 ? each.accepted : each.probability * 100 >= chosen);
  const accepted = tags.filter(isAccepted);
  const guesses = accepted.length ? [] : tags.slice(0, GUESSES);
  const others = tags.filter((each) => !accepted.includes(each) && !guesses.includes(each));
  const rows = (of, guessed = false) =>
    of.map((each) => row(each, { accepted: isAccepted(each), guessed, chosen, see, leave, marks, onlyHere: isAccepted(each) && failing.has(each.label) }));
  const list = (name, of) => make("ol", { className: "tags", "aria-label": name }, ...of);
  const parts = accepted.length
    ? [list(title, rows(accepted))]
    : [make("p", { className: "nothing", textContent: "Nothing recognised with confidence. It may be:" }), list(`${title}, guesses`, rows(guesses, true))];
  if (implied.length) parts.push(make("p", { className: "note", textContent: `also: ${implied.map((each) => each.label).join(", ")}` }));
  if (others.length) {
    const summary = make("summary", { textContent: `${others.length} more that were not found` });
    const remember = (event) => (unfolded = event.target.open);
    parts.push(make("details", { open: unfolded || marks !== null, className: "others", on: { toggle: remember } }, summary, list(`${title}, not found`, rows(others))));
  }
  for (const { label, message } of answer.warnings) parts.push(make("p", { className: "note warning" }, make("strong", { textContent: label }), `: ${message}.`));
  return parts;
}

function row(tag, { accepted, guessed, chosen, see, leave, marks, onlyHere }) {
  const mark = make("i");
  mark.style.left = `${chosen < 0 ? tag.threshold * 100 : chosen}%`;
  const bar = make("progress", { max: 1, value: tag.probability });
  const remark = guessed ? "a guess" : onlyHere ? "only here" : null;
  const shown = make(
    "button",
    {
      type: "button",
      className: accepted ? "yes" : "no",
      title: `threshold ${percent(tag.threshold)}`,
      on: { pointerenter: () => see(tag.label), focus: () => see(tag.label), click: () => see(tag.label), pointerleave: leave },
    },
    make("span", {}, tag.label, ...(remark ? [" ", make("small", { textContent: remark })] : [])),
    make("span", { className: "bar", "aria-hidden": "true" }, bar, mark),
    make("span", { className: "share", textContent: percent(tag.probability) }),
  );
  return make("li", guessed ? { className: "guess" } : {}, shown, ...(marks ? [verdicts(tag.label, marks)] : []));
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
