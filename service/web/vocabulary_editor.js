// The vocabulary editor: edits labels as lines of text, and saves without overwriting others' changes.

import { Problem, send, vocabularies } from "./api.js";
import { $, confirmed, make, tell, telling } from "./dom.js";
import * as finer from "./finer_labels.js";
import { onShow } from "./views.js";

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
        const facts = [each.built_in ? "built in" : `version ${each.version}`, `${each.size} labels`];
        if (each.calibration !== null) facts.push(`calibration ${each.calibration}`);
        const open = make("button", { type: "button", on: { click: () => leave(() => load(each.name)) } }, each.name, make("small", { textContent: facts.join(" · ") }));
        open.setAttribute("aria-current", String(opened !== null && each.name === opened.from));
        return make("li", {}, open);
      }),
    );
  });
}

async function leave(then) {
  const text = "Your changes are not saved and will be lost.";
  if (!isChanged() || (await confirmed("Leave without saving?", text, "Leave"))) await then();
}

function show({ from, name, etag, labels, settings = {}, builtIn = false }) {
  opened = { from, etag, settings, lines: labels.map((each) => each.name).join("\n") };
  $("name").value = name;
  $("name").readOnly = etag !== null;
  $("lines").value = opened.lines;
  finer.open(labels, names);
  $("editor-heading").textContent = etag === null ? "New vocabulary" : name;
  $("editor-note").textContent = builtIn ? `${from} is built in and cannot be changed. Save this copy under another name.` : "";
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

// Another user has saved it meanwhile: the editor shows the differences and lets the user decide.
async function conflict(name) {
  const { content, etag } = await send("GET", path(name));
  const theirs = new Set(content.labels.map((each) => each.name));
  const mine = new Set(names());
  const more = [...theirs].filter((each) => !mine.has(each));
  const less = [...mine].filter((each) => !theirs.has(each));
  const few = (of) => of.slice(0, 5).join(", ") + (of.length > 5 ? ` and ${of.length - 5} more` : "");
  const differences = [more.length ? `only in the saved version: ${few(more)}` : "", less.length ? `only in yours: ${few(less)}` : ""].filter(Boolean).join("; ");
  tell($("editor-status"), "Not saved. Your changes are still here.", true);
  const since = opened.etag === null ? `A vocabulary named ${name} already exists` : `${name} has changed since you opened it`;
  $("conflict-text").textContent = `${since}: version ${content.version}${differences ? ` (${differences})` : ""}.`;
  $("conflict").hidden = false;
  $("save-mine").onclick = () => telling($("editor-status"), () => save(etag));
  $("load-theirs").onclick = () => leave(() => load(name));
}

async function remove() {
  const name = $("name").value;
  if (!(await confirmed(`Delete ${name}?`, "All its versions and calibrations are deleted too.", "Delete"))) return;
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
