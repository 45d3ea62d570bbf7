// Vocabularies: read, changed as lines of text, and saved without undoing anybody else's change.

import { Problem, send, vocabularies } from "./api.js";
import { $, confirmed, make, tell, telling } from "./dom.js";
import * as finer from "./finer_labels.js";
import { onShow } from "./views.js";

let opened = null; // { from, etag, lines }; etag is null for what is not saved yet
const path = (name) => `v1/vocabularies/${encodeURIComponent(name)}`;

// What a vocabulary says of all its labels: it is not edited here, and stays.
const settingsOf = ({ precision, recall }) => ({ precision, recall });

const names = () => $("lines").value.split("\n").map((line) => line.trim().replace(/\s+/g, " ")).filter(Boolean);

const isChanged = () => opened !== null && ($("lines").value !== opened.lines || finer.isChanged());

async function list() {
  await telling($("editor-status"), async () => {
    const known = await vocabularies();
    $("vocabulary-list").replaceChildren(
      ...known.map((each) => {
        const facts = [each.built_in ? "comes with the package" : `version ${each.version}`, `${each.size} labels`];
        if (each.calibration !== null) facts.push(`calibration ${each.calibration}`);
        const open = make("button", { type: "button", on: { click: () => leave(() => load(each.name)) } }, each.name, make("small", { textContent: facts.join(" · ") }));
        open.setAttribute("aria-current", String(opened !== null && each.name === opened.from));
        return make("li", {}, open);
      }),
    );
  });
}

async function leave(then) {
  const text = "What you typed is not saved, and is lost.";
  if (!isChanged() || (await confirmed("Leave it unsaved?", text, "Leave"))) await then();
}

function show({ from, name, etag, labels, settings = {}, builtIn = false }) {
  opened = { from, etag, settings, lines: labels.map((each) => each.name).join("\n") };
  $("name").value = name;
  $("name").readOnly = etag !== null;
  $("lines").value = opened.lines;
  finer.open(labels, names);
  $("editor-heading").textContent = etag === null ? "New vocabulary" : name;
  $("editor-note").textContent = builtIn ? `${from} comes with the package and stays as it is: save this copy under a name of your own.` : "";
  for (const id of ["use-vocabulary", "delete-vocabulary"]) $(id).hidden = etag === null;
  $("conflict").hidden = true;
  for (const each of $("vocabulary-list").querySelectorAll("button")) each.setAttribute("aria-current", String(each.firstChild.data === from));
}

async function load(name) {
  tell($("editor-status"), "");
  await telling($("editor-status"), async () => {
    const { content, etag } = await send("GET", path(name));
    const builtIn = Boolean(content.built_in);
    show({ from: name, name: builtIn ? `my-${name}` : name, etag: builtIn ? null : etag, labels: content.labels, settings: settingsOf(content), builtIn });
    // On a phone it is below the list; and whoever hears the page is told what was opened.
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
  const headers = etag === null ? { "If-None-Match": "*" } : { "If-Match": etag };
  $("conflict").hidden = true;
  try {
    const saved = await send("PUT", path(name), { labels: finer.labels(names()), ...opened.settings }, headers);
    const { version, size } = saved.content;
    tell($("editor-status"), `Saved ${name}: version ${version}, ${size} labels.`);
    const { content } = await send("GET", path(name));
    show({ from: name, name, etag: saved.etag, labels: content.labels, settings: settingsOf(content) });
    document.dispatchEvent(new CustomEvent("vocabularies-changed"));
    await list();
  } catch (error) {
    if (error instanceof Problem && error.status === 412) await conflict(name);
    else throw error;
  }
}

// Somebody else has saved it meanwhile: both are there still, and who edits decides.
async function conflict(name) {
  const { content, etag } = await send("GET", path(name));
  const theirs = new Set(content.labels.map((each) => each.name));
  const mine = new Set(names());
  const more = [...theirs].filter((each) => !mine.has(each));
  const less = [...mine].filter((each) => !theirs.has(each));
  const few = (of) => of.slice(0, 5).join(", ") + (of.length > 5 ? ` and ${of.length - 5} more` : "");
  const differences = [more.length ? `only theirs: ${few(more)}` : "", less.length ? `only yours: ${few(less)}` : ""].filter(Boolean).join("; ");
  tell($("editor-status"), "Not saved. What you typed is still here.", true);
  const since = opened.etag === null ? `There is a vocabulary ${name} already` : `${name} was changed since you opened it`;
  $("conflict-text").textContent = `${since}: version ${content.version}${differences ? ` (${differences})` : ""}.`;
  $("conflict").hidden = false;
  $("save-mine").onclick = () => telling($("editor-status"), () => save(etag));
  $("load-theirs").onclick = () => leave(() => load(name));
}

async function remove() {
  const name = $("name").value;
  if (!(await confirmed(`Delete ${name}?`, "It is forgotten with all its versions and its calibrations.", "Delete"))) return;
  await telling($("editor-status"), async () => {
    await send("DELETE", path(name), undefined, { "If-Match": opened.etag });
    begin();
    tell($("editor-status"), `${name} is deleted.`);
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
  addEventListener("beforeunload", (event) => isChanged() && event.preventDefault());
  show({ from: null, name: "", etag: null, labels: [] });
  onShow("vocabularies", list);
}
