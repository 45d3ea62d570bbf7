// The photographs of this visit, and the queue that tags them. Each has its own state, result and error.

import { patiently, preview, Problem } from "./api.js";

const AT_ONCE = 3;

// A photograph is { id, file, shown, url, state, turn, columns, problem, maps }. `shown` is what the browser can show of
// it, the file or a copy that the service decoded, and `url` its address; `state` is waiting, tagging, tagged or failed, and `turn` counts
// how often it was sent.
export const photographs = [];
let newest = 0;
let running = 0;
let tagged = null;

// `work(file)` resolves to the columns of a photograph. Changes are announced as `photograph-changed`.
export function start(work) {
  tagged = work;
}

export function add(files) {
  for (const file of files) {
    newest += 1;
    photographs.push({ id: newest, file, shown: file, url: URL.createObjectURL(file), state: "waiting", turn: 0, columns: [], problem: null, maps: new Map() });
  }
  announce();
  advance();
}

export function remove(photograph) {
  photographs.splice(photographs.indexOf(photograph), 1);
  URL.revokeObjectURL(photograph.url);
  photograph.state = "removed";
  announce();
}

export function again(some = photographs) {
  for (const each of some) change(each, { state: "waiting", problem: null });
  advance();
}

// What of the photograph the browser shows, decoded.
export async function pixels(photograph) {
  const decode = () => createImageBitmap(photograph.shown, { imageOrientation: "from-image" });
  return decode().catch(async () => ((await decoded(photograph)) ? decode() : null));
}

// Replaces what is shown by the service's copy, for formats that the browser does not know; returns whether there is one.
export async function decoded(photograph) {
  if (photograph.shown !== photograph.file) return true;
  try {
    photograph.shown = await preview(photograph.file);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return false;
  }
  URL.revokeObjectURL(photograph.url);
  photograph.url = URL.createObjectURL(photograph.shown);
  announce(photograph);
  return true;
}

function advance() {
  while (running < AT_ONCE) {
    const next = photographs.find((each) => each.state === "waiting");
    if (!next) return;
    tag(next);
  }
}

async function tag(photograph) {
  running += 1;
  const turn = photograph.turn + 1;
  change(photograph, { state: "tagging", turn });
  const result = await outcome(photograph.file);
  running -= 1;
  // It may have been removed or queued again meanwhile; then this is the answer to an earlier question.
  if (photograph.state === "tagging" && photograph.turn === turn) change(photograph, result);
  advance();
}

async function outcome(file) {
  try {
    return { state: "tagged", columns: await patiently(() => tagged(file)), problem: null, maps: new Map() };
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return { state: "failed", columns: [], problem: error };
  }
}

function change(photograph, values) {
  Object.assign(photograph, values);
  announce(photograph);
}

function announce(photograph = null) {
  document.dispatchEvent(new CustomEvent("photograph-changed", { detail: photograph }));
}
