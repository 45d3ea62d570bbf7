// Checkpoints: which one is active on which replica, and how to activate another.

import { ask, Problem, send } from "./api.js";
import { $, button, confirmed, make, short, tell, telling } from "./dom.js";
import { driftReport } from "./drift.js";
import { onShow } from "./views.js";

const SECONDS = 2;
const COMPARABLE = ["ready", "shadow"];
const GONE = ["retired", "failed"];
let seen = "";
let timer = 0;

const nameOf = (each) => each.bundle ?? "The bundled checkpoint";

async function refresh() {
  clearTimeout(timer);
  if ($("view-checkpoints").hidden) return;
  await telling($("checkpoints-status"), async () => {
    const list = await ask("v1/checkpoints");
    const compared = list.checkpoints.filter((each) => COMPARABLE.includes(each.state));
    const drifts = await Promise.all(compared.map((each) => ask(`v1/checkpoints/${each.id}/drift`)));
    draw(list, new Map(drifts.map((each) => [each.checkpoint, each])));
    timer = setTimeout(refresh, SECONDS * 1000);
  });
}

// Redraws only if something has changed, so that focus and reading position are kept.
function draw(list, drifts) {
  const now = JSON.stringify([list, [...drifts.values()]]);
  if (now === seen) return;
  seen = now;
  const focused = document.activeElement?.dataset.action;
  const open = new Set([...document.querySelectorAll("#checkpoint-list details[open]")].map((each) => each.dataset.of));
  const active = list.checkpoints.find((each) => each.id === list.active);
  $("answering").replaceChildren(
    make("strong", { textContent: nameOf(active) }),
    ` is active (${short(list.active)}), generation ${list.generation}. ${promotion(list)}`,
    ...(list.problem ? [make("span", { className: "bad", textContent: ` ${list.problem}` })] : []),
  );
  $("roll-back").disabled = list.previous === null;
  $("checkpoint-list").replaceChildren(...[...list.checkpoints].reverse().map((each) => card(each, drifts.get(each.id), open)));
  const loaded = new Set(list.checkpoints.filter((each) => !GONE.includes(each.state)).map((each) => each.id));
  const bundles = list.bundles.filter((each) => !loaded.has(each.checkpoint));
  const none = make("li", { className: "note", textContent: "No others. Bundles that you copy into the server's folder of bundles appear here." });
  $("bundle-list").replaceChildren(...(bundles.length ? bundles.map(bundle) : [none]));
  $("replica-list").replaceChildren(...list.replicas.map((each) => replica(each, list.replica)));
  if (focused) document.querySelector(`[data-action="${CSS.escape(focused)}"]`)?.focus();
}

function promotion({ promoted, replicas }) {
  if (promoted === null) return "The database does not respond, so the state of other replicas is unknown.";
  if (replicas.length < 2) return "";
  return promoted ? `All ${replicas.length} replicas use it.` : "Some replicas have not applied the newest activation yet.";
}

function card(each, drift, open) {
  const isActive = each.state === "active";
  const act = (text, listener, what) => button(text, listener, { "data-action": `${what} ${each.id}` });
  const actions = [];
  if (COMPARABLE.includes(each.state)) {
    actions.push(act("Activate", () => activate(each), "activate"));
    if (each.state === "shadow") actions.push(act("End shadow", () => shadow(each, 0), "shadow"));
    else actions.push(act("Shadow", () => shadow(each, Number($("share").value)), "shadow"));
  }
  if (!isActive && ![...GONE, "draining"].includes(each.state)) actions.push(act("Unload", () => unload(each), "unload"));
  const warming = each.state === "warming" && each.labels_total ? ` ${each.labels_done} of ${each.labels_total} labels` : "";
  const facts = [short(each.id), each.previous ? "previously active" : "", `since ${new Date(each.since).toLocaleString()}`];
  if (each.requests && !isActive) facts.push(`requests in progress: ${each.requests}`);
  if (each.load_seconds !== null) facts.push(`loaded in ${each.load_seconds.toFixed(1)} s`);
  const item = make(
    "li",
    { className: isActive ? "card active" : "card" },
    make("h3", {}, nameOf(each), " ", make("span", { className: `state ${each.state}`, textContent: each.state + warming })),
    make("p", { className: "note", textContent: facts.filter(Boolean).join(" · ") }),
  );
  if (each.reason) item.append(make("p", { className: "bad", textContent: each.reason }));
  if (actions.length) item.append(make("div", { className: "row" }, ...actions));
  if (drift && (each.state === "shadow" || drift.photographs)) item.append(driftReport(drift, open.has(each.id)));
  return item;
}

function bundle(each) {
  const load = button("Load", () => change(() => send("POST", "v1/checkpoints/load", { bundle: each.bundle }), `${each.bundle} is loading.`), {
    "data-action": `load ${each.bundle}`,
    disabled: each.problem !== null,
  });
  return make(
    "li",
    { className: "card" },
    make("h3", { textContent: each.bundle }),
    make("p", each.problem ? { className: "bad", textContent: each.problem } : { className: "note", textContent: short(each.checkpoint) }),
    make("div", { className: "row" }, load),
  );
}

function replica(each, own) {
  return make(
    "tr",
    {},
    make("th", { scope: "row", textContent: each.id + (each.id === own ? " (serves this page)" : "") }),
    make("td", { textContent: each.generation }),
    make("td", {}, short(each.checkpoint), ...(each.problem ? [make("p", { className: "bad", textContent: each.problem })] : [])),
    make("td", { textContent: new Date(each.seen).toLocaleTimeString() }),
  );
}

async function change(work, said) {
  const done = await telling($("checkpoints-status"), work);
  if (done) tell($("checkpoints-status"), said);
  seen = "";
  await refresh();
  document.dispatchEvent(new CustomEvent("checkpoints-changed"));
}

async function activate(each) {
  const title = `Activate ${nameOf(each)}?`;
  const text = "All replicas will use it for every new request. The current checkpoint stays in memory, so that you can roll back.";
  if (!(await confirmed(title, text, "Activate"))) return;
  const path = `v1/checkpoints/${each.id}/activate`;
  await change(async () => {
    try {
      await send("POST", path, {});
    } catch (error) {
      if (!(error instanceof Problem) || !error.drift) throw error;
      if (!(await confirmed(error.title, `${error.detail}. Activate it anyway?`, "Activate anyway"))) throw error;
      await send("POST", path, { force: true });
    }
  }, `${nameOf(each)} is active now.`);
}

async function rollBack() {
  const text = "All replicas will use the previously active checkpoint for every new request.";
  if (await confirmed("Roll back?", text, "Roll back")) {
    await change(() => send("POST", "v1/checkpoints/rollback"), "The previous checkpoint is active again.");
  }
}

function shadow(each, share) {
  const said = share ? `${nameOf(each)} now tags the same photographs; only the drift report shows its tags.` : `${nameOf(each)} is no longer a shadow.`;
  return change(() => send("POST", `v1/checkpoints/${each.id}/shadow`, { share }), said);
}

async function unload(each) {
  if (await confirmed(`Unload ${nameOf(each)}?`, "It is removed from memory when its requests are finished. Its bundle stays on disk.", "Unload")) {
    await change(() => send("POST", `v1/checkpoints/${each.id}/unload`), `${nameOf(each)} is being unloaded.`);
  }
}

export function start() {
  $("roll-back").addEventListener("click", rollBack);
  onShow("checkpoints", refresh);
}
