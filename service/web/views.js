// Switches between the sections of the page by the address's fragment, so that back and reload work.

import { $ } from "./dom.js";

const VIEWS = ["tag", "vocabularies", "checkpoints"];
const shown = new Map();

// Calls `listener` each time a view is shown.
export function onShow(view, listener) {
  shown.set(view, listener);
}

function show() {
  const view = VIEWS.find((each) => location.hash === `#${each}`) ?? "tag";
  for (const each of VIEWS) {
    $(`view-${each}`).hidden = each !== view;
    const link = $("views").querySelector(`[href="#${each}"]`);
    if (each === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = view === "tag" ? "SigRL Tagger" : `${$("views").querySelector("[aria-current]").textContent} · SigRL Tagger`;
  shown.get(view)?.();
}

export function start() {
  addEventListener("hashchange", () => {
    show();
    scrollTo(0, 0);
  });
  document.addEventListener("key-needed", () => ($("needs-key").hidden = false));
  show();
}

export const refresh = show;
