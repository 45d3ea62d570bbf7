// All photographs as a grid, each with its tags or its error, and what is done with all of them at once.

import { isAccepted } from "./asked.js";
import { $, button, confirmed, make } from "./dom.js";
import { download } from "./downloading.js";
import { again, decoded, photographs, remove } from "./photographs.js";
import { listed, percent, t } from "./texts.js";

const MOST_CHIPS = 6;
const cards = new Map(); // by photograph

// Whether a failed photograph may be tagged if it is sent again; a PDF never is.
export const mayPass = ({ problem }) => ![413, 415, 422].includes(problem.status);

// The accepted tags of a photograph's first column; its broader words; and the guesses, where nothing is accepted.
export function results({ columns }) {
  const { tags, implied } = columns[0];
  const accepted = tags.filter(isAccepted);
  return { accepted, implied, guesses: accepted.length ? [] : tags.slice(0, 3) };
}

function draw() {
  for (const [photograph, card] of cards) {
    if (photographs.includes(photograph)) continue;
    card.remove();
    cards.delete(photograph);
  }
  for (const each of photographs) {
    if (!cards.has(each)) {
      cards.set(each, make("li", { className: "card" }));
      $("grid").append(cards.get(each));
    }
    drawCard(each);
  }
  summarise();
}

// The link and the cross stay the same elements, because a click is lost when what was pressed is replaced before it is released.
function drawCard(photograph) {
  const card = cards.get(photograph);
  const { file, url, state } = photograph;
  card.dataset.state = state;
  if (!card.firstChild) {
    card.append(
      make("a", { className: "shot", "data-kind": file.name.split(".").at(-1).slice(0, 5), href: `#tag/${photograph.id}` }, picture(photograph)),
      button("×", () => drop(photograph), { className: "cross" }),
      make("div", { className: "under" }),
    );
  }
  const [link, cross, under] = card.children;
  link.setAttribute("aria-label", t("grid.open", { file: file.name }));
  cross.setAttribute("aria-label", t("grid.remove", { file: file.name }));
  const image = link.querySelector("img");
  if (image.src !== url) image.src = url;
  const hadFocus = under.contains(document.activeElement);
  under.replaceChildren(make("p", { className: "file", textContent: file.name }), ...UNDER[state](photograph));
  if (hadFocus) link.focus();
}

function picture(photograph) {
  const missing = (event) => {
    event.target.hidden = true;
    if (photograph.state !== "removed") decoded(photograph);
  };
  return make("img", { alt: "", loading: "lazy", decoding: "async", on: { error: missing, load: (event) => (event.target.hidden = false) } });
}

const UNDER = {
  waiting: () => [make("p", { className: "note", textContent: t("grid.waiting") })],
  tagging: ({ file }) => [make("progress", { "aria-label": t("grid.tagging", { file: file.name }) })],
  failed: (photograph) => [
    make("p", { className: "bad", textContent: photograph.problem.message }),
    mayPass(photograph) ? button(t("grid.retry"), () => again([photograph]), { className: "retry small" }) : null,
  ].filter(Boolean),
  tagged: (photograph) => {
    const { accepted, implied, guesses } = results(photograph);
    const shown = accepted.length ? accepted : guesses;
    const chips = shown.slice(0, MOST_CHIPS).map((each) => make("li", { className: accepted.length ? "chip yes" : "chip guess", title: percent(each.probability, each.threshold), textContent: each.label }));
    if (shown.length > MOST_CHIPS) chips.push(make("li", { className: "more", textContent: t("grid.more", { count: shown.length - MOST_CHIPS }) }));
    return [
      accepted.length ? null : make("p", { className: "nothing", textContent: t(guesses.length ? "tags.nothing" : "tags.nothing-at-all") }),
      make("ul", { className: "chip-list", "aria-label": t("grid.tags", { file: photograph.file.name }) }, ...chips),
      implied.length ? make("p", { className: "note", textContent: t("tags.implied", { words: listed(implied.map((each) => each.label)) }) }) : null,
    ].filter(Boolean);
  },
};

// One line on all photographs, which counts what is drawn.
function summarise() {
  const of = (state) => photographs.filter((each) => each.state === state);
  const [done, failed] = [of("tagged"), of("failed")];
  const open = photographs.length - done.length - failed.length;
  const found = done.reduce((sum, each) => sum + results(each).accepted.length, 0);
  const parts = [t("grid.photographs", { count: photographs.length }), t("grid.found", { count: found })];
  if (open) parts.push(t("grid.open-ones", { count: open }));
  if (failed.length) parts.push(t("grid.failed", { count: failed.length }));
  $("summary").textContent = photographs.length ? parts.join(" · ") : "";
  $("overall").hidden = open === 0;
  [$("overall").max, $("overall").value] = [photographs.length || 1, done.length + failed.length];
  $("empty").hidden = photographs.length > 0;
  $("tools").hidden = photographs.length === 0;
  $("retry-all").hidden = failed.filter(mayPass).length < 2;
  for (const id of ["as-csv", "as-json"]) $(id).disabled = !done.length && !failed.length;
}

function drop(photograph) {
  const next = cards.get(photograph).nextElementSibling ?? cards.get(photograph).previousElementSibling;
  remove(photograph);
  (next?.querySelector(".cross") ?? document.querySelector("#empty .choose")).focus();
}

async function clear() {
  const isSure = await confirmed(t("grid.clear?"), t("grid.clear-text", { count: photographs.length }), t("grid.clear"));
  if (isSure) for (const each of [...photographs]) remove(each);
}

export function start() {
  document.addEventListener("photograph-changed", ({ detail }) => {
    if (detail === null || !cards.has(detail)) return draw();
    drawCard(detail);
    summarise();
  });
  for (const event of ["threshold-changed", "language-changed"]) document.addEventListener(event, draw);
  document.addEventListener("key-given", () => again(photographs.filter(({ problem }) => [401, 403].includes(problem?.status))));
  $("clear").addEventListener("click", clear);
  $("retry-all").addEventListener("click", () => again(photographs.filter((each) => each.state === "failed" && mayPass(each))));
  for (const kind of ["csv", "json"]) $(`as-${kind}`).addEventListener("click", () => download(kind, photographs, results));
  draw();
}
