// Lists of tags: bars with probability and threshold.

import { make } from "./dom.js";
import { listed, percent, t } from "./texts.js";

const GUESSES = 3;
// Whether the tags that were not found are unfolded; they stay so while the threshold moves.
let unfolded = false;

// Returns elements: how many tags are drawn and which; a message and three guesses if none is accepted; the implied
// words; the other words, folded; and warnings about words that the checkpoint cannot judge.
//
// `limit`: the threshold for all words, or null for each word's own; `isAccepted(tag)` follows it. `onlyHere`: words
// that are not accepted in the list beside this one. `see(label)` and `leave()` follow the pointer and the focus,
// `pin(label)` a click; `pinned(label)`: whether its map stays.
export function found({ tags, implied, answer }, { title, limit, isAccepted, onlyHere, pinned, see, leave, pin }) {
  const accepted = tags.filter(isAccepted);
  const guesses = accepted.length ? [] : tags.slice(0, GUESSES);
  const others = tags.filter((each) => !accepted.includes(each) && !guesses.includes(each));
  const rows = (of, remark) => of.map((each) => row(each, { isYes: isAccepted(each), remark: remark(each), isGuess: guesses.includes(each), limit, pinned, see, leave, pin }));
  const list = (name, of, remark = () => null) => make("ol", { className: "tags", "aria-label": name }, ...rows(of, remark));
  const parts = accepted.length
    ? [make("p", { className: "count", textContent: t("grid.found", { count: accepted.length }) }), list(title, accepted, (each) => (onlyHere.has(each.label) ? t("tags.only-here") : null))]
    : guesses.length
      ? [make("p", { className: "nothing", textContent: t("tags.nothing") }), list(t("tags.guesses", { title }), guesses, () => t("tags.guess"))]
      : [make("p", { className: "nothing", textContent: t("tags.nothing-at-all") })];
  if (implied.length) parts.push(make("p", { className: "note", textContent: t("tags.implied", { words: listed(implied.map((each) => each.label)) }) }));
  const unlisted = answer.vocabulary.size - tags.length - implied.length;
  if (others.length) {
    const remember = (event) => (unfolded = event.target.open);
    const summary = make("summary", { textContent: t(unlisted > 0 ? "tags.others-of" : "tags.others", { count: others.length, unlisted }) });
    parts.push(make("details", { open: unfolded, className: "others", on: { toggle: remember } }, summary, list(t("tags.not-found", { title }), others)));
  }
  for (const { label, message } of answer.warnings) parts.push(make("p", { className: "note warning" }, make("strong", { textContent: label }), `: ${message}.`));
  return parts;
}

function row(tag, { isYes, isGuess, remark, limit, pinned, see, leave, pin }) {
  const from = limit ?? tag.threshold;
  const mark = make("i");
  mark.style.left = `${from * 100}%`;
  const bar = make("progress", { max: 1, value: tag.probability });
  const follow = { pointerenter: ({ pointerType }) => pointerType === "mouse" && see(tag.label), pointerleave: ({ pointerType }) => pointerType === "mouse" && leave() };
  const shown = make(
    "button",
    {
      type: "button",
      className: isYes ? "yes" : "no",
      title: t("tags.threshold", { threshold: percent(from) }),
      "aria-pressed": String(pinned(tag.label)),
      on: { ...follow, focus: ({ target }) => target.matches(":focus-visible") && see(tag.label), blur: leave, click: () => pin(tag.label) },
    },
    make("span", {}, tag.label, ...(remark ? [" ", make("small", { textContent: remark })] : [])),
    make("span", { className: "bar", "aria-hidden": "true" }, bar, mark),
    make("span", { className: "share", textContent: percent(tag.probability, from) }),
  );
  return make("li", isGuess ? { className: "guess" } : {}, shown);
}
