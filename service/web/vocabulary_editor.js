// The vocabulary editor: edits labels as lines of text, and saves without overwriting others' changes.

import { Problem, send, vocabularies } from "./api.js";
import { $, confirmed, make, tell, telling, valid } from "./dom.js";
import * as finer from "./finer_labels.js";
import { t } from "./texts.js";
import { onShow } from "./views.js";

const NAME = /^[a-z0-9][a-z0-9-]{0,63}$/;
const LONGEST_LABEL = 200;
let opened = null; // { from, etag, settings, lines }; etag is null until it is saved
const path = (name) => `v1/vocabularies/${encodeURIComponent(name)}`;

// Settings that apply to all labels; they are not edited here, only kept.
const settingsOf = ({ precision, recall }) => ({ precision, recall });

const names = () => $("lines").value.split("\n").map((line) => line.trim().replace(/\s+/g, " ")).filter(Boolean);

const isChanged = () => opened !== null && ($("lines").value !== opened.lines || finer.isChanged());

async function list() {
  await telling($("editor-status"), async () => {
    const known = await vocabularies();
    $("vocabulary-list").replaceChildren(
      ...known.map((each) => {
        const facts = [each.built_in ? t("vocabulary.built-in") : t("vocabulary.version", { version: each.version }), t("vocabulary.labels", { count: each.size })];
        if (each.calibration !== null) facts.push(t("vocabulary.calibration", { calibration: each.calibration }));
        const open = make("button", { type: "button", on: { click: () => leave(() => load(each.name)) } }, each.name, make("small", { textContent: facts.join(" · ") }));
        open.setAttribute("aria-current", String(opened !== null && each.name === opened.from));
        return make("li", {}, open);
      }),
    );
  });
}

async function leave(then) {
  if (!isChanged() || (await confirmed(t("leave.title"), t("leave.text"), t("leave.yes")))) await then();
}

function show({ from, name, etag, labels, settings = {}, builtIn = false }) {
  opened = { from, etag, settings, lines: labels.map((each) => each.name).join("\n") };
  $("name").value = name;
  $("name").readOnly = etag !== null;
  $("lines").value = opened.lines;
  finer.open(labels, names);
  $("editor-heading").textContent = etag === null ? t("vocabulary.new") : name;
  $("editor-note").textContent = builtIn ? t("vocabulary.copy", { name: from }) : "";
  valid($("editor"), new Map());
  for (const id of ["use-vocabulary", "improve-vocabulary", "delete-vocabulary"]) $(id).hidden = etag === null;
  $("conflict").hidden = true;
  for (const each of $("vocabulary-list").querySelectorAll("button")) each.setAttribute("aria-current", String(each.firstChild.data === from));
}

async function load(name) {
  tell($("editor-status"), "");
  await telling($("editor-status"), async () => {
    const { content, etag } = await send("GET", path(name));
    const builtIn = Boolean(content.built_in);
    show({ from: name, name: builtIn ? `my-${name}` : name, etag: builtIn ? null : etag, labels: content.labels, settings: settingsOf(content), builtIn });
    // Focused, because on a phone it is below the list, and so that screen readers announce it.
    $("editor-heading").focus();
  });
}

function begin() {
  show({ from: null, name: "", etag: null, labels: [] });
  tell($("editor-status"), "");
  $("name").focus();
}

async function save(etag) {
  const name = $("name").value.trim();
  if (!valid($("editor"), faults(name))) return;
  const headers = etag === null ? { "If-None-Match": "*" } : { "If-Match": etag };
  $("conflict").hidden = true;
  try {
    const saved = await send("PUT", path(name), { labels: finer.labels(names()), ...opened.settings }, headers);
    const { version, size } = saved.content;
    tell($("editor-status"), t("vocabulary.saved", { name, version, count: size }));
    const { content } = await send("GET", path(name));
    show({ from: name, name, etag: saved.etag, labels: content.labels, settings: settingsOf(content) });
    document.dispatchEvent(new CustomEvent("vocabularies-changed"));
    await list();
  } catch (error) {
    if (error instanceof Problem && error.status === 412) await conflict(name);
    else throw error;
  }
}

// What is wrong with the fields, by field.
function faults(name) {
  const found = new Map(finer.faults());
  if (!NAME.test(name)) found.set($("name"), t("vocabulary.bad-name"));
  const labels = names();
  const twice = labels.find((each, place) => labels.findIndex((other) => other.toLowerCase() === each.toLowerCase()) < place);
  const long = labels.find((each) => each.length > LONGEST_LABEL);
  if (!labels.length) found.set($("lines"), t("vocabulary.no-labels"));
  else if (twice) found.set($("lines"), t("vocabulary.twice", { word: twice }));
  else if (long) found.set($("lines"), t("vocabulary.too-long", { word: long.slice(0, 40), most: LONGEST_LABEL }));
  // In the order of the form, so that the first one gets the focus.
  return new Map([...found].sort(([one], [other]) => (one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1)));
}

// Another user has saved it meanwhile: the editor shows the differences and lets the user decide.
async function conflict(name) {
  const { content, etag } = await send("GET", path(name));
  const theirs = new Set(content.labels.map((each) => each.name));
  const mine = new Set(names());
  const more = [...theirs].filter((each) => !mine.has(each));
  const less = [...mine].filter((each) => !theirs.has(each));
  const few = (of) => (of.length > 5 ? t("conflict.more", { words: of.slice(0, 5).join(", "), count: of.length - 5 }) : of.join(", "));
  const differences = [more.length ? t("conflict.only-theirs", { words: few(more) }) : "", less.length ? t("conflict.only-mine", { words: few(less) }) : ""].filter(Boolean).join("; ");
  tell($("editor-status"), t("conflict.kept"), true);
  const since = t(opened.etag === null ? "conflict.exists" : "conflict.changed", { name });
  $("conflict-text").textContent = t("conflict.text", { since, version: content.version, differences: differences ? ` (${differences})` : "" });
  $("conflict").hidden = false;
  $("save-mine").onclick = () => telling($("editor-status"), () => save(etag));
  $("load-theirs").onclick = () => leave(() => load(name));
}

async function remove() {
  const name = $("name").value;
  if (!(await confirmed(t("delete.title", { name }), t("delete.text"), t("vocabulary.delete")))) return;
  await telling($("editor-status"), async () => {
    await send("DELETE", path(name), undefined, { "If-Match": opened.etag });
    begin();
    tell($("editor-status"), t("delete.done", { name }));
    document.dispatchEvent(new CustomEvent("vocabularies-changed"));
    await list();
  });
}

export function start() {
  $("new-vocabulary").addEventListener("click", () => leave(begin));
  $("editor").addEventListener("submit", (event) => {
    event.preventDefault();
    telling($("editor-status"), () => save(opened.etag));
  });
  $("lines").addEventListener("input", finer.redraw);
  $("delete-vocabulary").addEventListener("click", remove);
  $("use-vocabulary").addEventListener("click", () =>
    leave(() => document.dispatchEvent(new CustomEvent("vocabulary-chosen", { detail: $("name").value }))),
  );
  $("improve-vocabulary").addEventListener("click", () => leave(() => document.dispatchEvent(new CustomEvent("improve", { detail: $("name").value }))));
  document.addEventListener("language-changed", () => {
    list();
    finer.redraw();
    if (opened.etag === null) $("editor-heading").textContent = t("vocabulary.new");
  });
  addEventListener("beforeunload", (event) => isChanged() && event.preventDefault());
  show({ from: null, name: "", etag: null, labels: [] });
  onShow("vocabularies", list);
}
