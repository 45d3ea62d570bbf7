// Checkpoints: which one is active on which replica, and how to activate another.

import { ask, Problem, send } from "./api.js";
import { $, button, confirmed, make, short, tell, telling } from "./dom.js";
import { driftReport } from "./drift.js";
import { decimal, language, t } from "./texts.js";
import { onShow } from "./views.js";

const SECONDS = 2;
const COMPARABLE = ["ready", "shadow"];
const GONE = ["retired", "failed"];
let seen = "";
let timer = 0;

const nameOf = (each) => each.bundle ?? t("checkpoints.bundled");

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
  const now = JSON.stringify([language, list, [...drifts.values()]]);
  if (now === seen) return;
  seen = now;
  const focused = document.activeElement?.dataset.action;
  const open = new Set([...document.querySelectorAll("#checkpoint-list details[open]")].map((each) => each.dataset.of));
  const active = list.checkpoints.find((each) => each.id === list.active);
  $("answering").replaceChildren(
    make("strong", { textContent: nameOf(active) }),
    ` ${t("checkpoints.active", { id: short(list.active), generation: list.generation })} ${promotion(list)}`,
    ...(list.problem ? [make("span", { className: "bad", textContent: ` ${list.problem}` })] : []),
  );
  $("roll-back").disabled = list.previous === null;
  $("checkpoint-list").replaceChildren(...[...list.checkpoints].reverse().map((each) => card(each, drifts.get(each.id), open)));
  const loaded = new Set(list.checkpoints.filter((each) => !GONE.includes(each.state)).map((each) => each.id));
  const bundles = list.bundles.filter((each) => !loaded.has(each.checkpoint));
  const none = make("li", { className: "note", textContent: t("checkpoints.no-bundles") });
  $("bundle-list").replaceChildren(...(bundles.length ? bundles.map(bundle) : [none]));
  $("replica-list").replaceChildren(...list.replicas.map((each) => replica(each, list.replica)));
  if (focused) document.querySelector(`[data-action="${CSS.escape(focused)}"]`)?.focus();
}

function promotion({ promoted, replicas }) {
  if (promoted === null) return t("checkpoints.no-database");
  if (replicas.length < 2) return "";
  return promoted ? t("checkpoints.everywhere", { count: replicas.length }) : t("checkpoints.not-everywhere");
}

function card(each, drift, open) {
  const isActive = each.state === "active";
  const act = (text, listener, what) => button(text, listener, { "data-action": `${what} ${each.id}` });
  const actions = [];
  if (COMPARABLE.includes(each.state)) {
    actions.push(act(t("checkpoints.activate"), () => activate(each), "activate"));
    if (each.state === "shadow") actions.push(act(t("checkpoints.end-shadow"), () => shadow(each, 0), "shadow"));
    else actions.push(act(t("checkpoints.shadow"), () => shadow(each, Number($("share").value)), "shadow"));
  }
  if (!isActive && ![...GONE, "draining"].includes(each.state)) actions.push(act(t("checkpoints.unload"), () => unload(each), "unload"));
  const warming = each.state === "warming" && each.labels_total ? ` ${t("checkpoints.labels", { done: each.labels_done, count: each.labels_total })}` : "";
  const facts = [short(each.id), each.previous ? t("checkpoints.previous") : "", t("checkpoints.since", { time: new Date(each.since).toLocaleString(language) })];
  if (each.requests && !isActive) facts.push(t("checkpoints.requests", { count: each.requests }));
  if (each.load_seconds !== null) facts.push(t("checkpoints.loaded", { seconds: decimal(each.load_seconds) }));
  const item = make(
    "li",
    { className: isActive ? "card active" : "card" },
    make("h3", {}, nameOf(each), " ", make("span", { className: `state ${each.state}`, textContent: t(`state.${each.state}`) + warming })),
    make("p", { className: "note", textContent: facts.filter(Boolean).join(" · ") }),
  );
  if (each.reason) item.append(make("p", { className: "bad", textContent: each.reason }));
  if (actions.length) item.append(make("div", { className: "row" }, ...actions));
  if (drift && (each.state === "shadow" || drift.photographs)) item.append(driftReport(drift, open.has(each.id)));
  return item;
}

function bundle(each) {
  const load = button(t("checkpoints.load"), () => change(() => send("POST", "v1/checkpoints/load", { bundle: each.bundle }), t("checkpoints.loading", { name: each.bundle })), {
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
    make("th", { scope: "row", textContent: each.id === own ? t("replica.own", { id: each.id }) : each.id }),
    make("td", { textContent: each.generation }),
    make("td", {}, short(each.checkpoint), ...(each.problem ? [make("p", { className: "bad", textContent: each.problem })] : [])),
    make("td", { textContent: new Date(each.seen).toLocaleTimeString(language) }),
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
  const title = t("activate.title", { name: nameOf(each) });
  if (!(await confirmed(title, t("activate.text"), t("checkpoints.activate")))) return;
  const path = `v1/checkpoints/${each.id}/activate`;
  await change(async () => {
    try {
      await send("POST", path, {});
    } catch (error) {
      if (!(error instanceof Problem) || !error.drift) throw error;
      if (!(await confirmed(t("activate.drift"), t("activate.drift-text", { detail: error.detail }), t("activate.anyway")))) throw error;
      await send("POST", path, { force: true });
    }
  }, t("activate.done", { name: nameOf(each) }));
}

async function rollBack() {
  if (await confirmed(t("roll-back.title"), t("roll-back.text"), t("checkpoints.roll-back"))) {
    await change(() => send("POST", "v1/checkpoints/rollback"), t("roll-back.done"));
  }
}

function shadow(each, share) {
  const said = t(share ? "shadow.begun" : "shadow.ended", { name: nameOf(each) });
  return change(() => send("POST", `v1/checkpoints/${each.id}/shadow`, { share }), said);
}

async function unload(each) {
  if (await confirmed(t("unload.title", { name: nameOf(each) }), t("unload.text"), t("checkpoints.unload"))) {
    await change(() => send("POST", `v1/checkpoints/${each.id}/unload`), t("unload.done", { name: nameOf(each) }));
  }
}

export function start() {
  $("roll-back").addEventListener("click", rollBack);
  onShow("checkpoints", refresh);
}
