// Switches between the sections of the page by the address's fragment, so that back and reload work.

import { $ } from "./dom.js";
import { t } from "./texts.js";

const VIEWS = ["tag", "improve", "vocabularies", "checkpoints"];
const shown = new Map();

// Calls `listener` each time a view is shown, with what follows the view's name in the fragment: `#tag/3` has "3".
export function onShow(view, listener) {
  shown.set(view, listener);
}

function show() {
  const [asked, rest = ""] = location.hash.slice(1).split("/");
  const view = VIEWS.includes(asked) ? asked : VIEWS[0];
  for (const each of VIEWS) {
    $(`view-${each}`).hidden = each !== view;
    const link = $("views").querySelector(`[href="#${each}"]`);
    if (each === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    // On a phone the links are wider than the screen.
    if (each === view) link.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  document.title = view === VIEWS[0] ? t("name") : t("title", { view: t(`nav.${view}`) });
  shown.get(view)?.(rest);
}

export function start() {
  addEventListener("hashchange", () => {
    show();
    scrollTo(0, 0);
  });
  for (const event of ["language-changed", "key-given"]) document.addEventListener(event, show);
  show();
}
