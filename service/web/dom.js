// Helpers to make elements, show messages and ask for confirmation.

import { Problem } from "./api.js";

export const $ = (id) => document.getElementById(id);

// Whether the reader taps rather than points.
export const taps = () => matchMedia("(hover: none)").matches;

// An element with properties (`data-…`, `aria-…` and `role` as attributes) and children; null children are left out.
export function make(kind, properties = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(properties)) {
    if (/^(data|aria)-|^role$/.test(name)) element.setAttribute(name, value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function button(text, listener, properties = {}) {
  return make("button", { type: "button", textContent: text, on: { click: listener }, ...properties });
}

// A table that scrolls by itself. `heads`: texts; `rows`: lists of texts, the first of which names the row.
export function table(name, heads, rows) {
  const head = make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", textContent: text }))));
  const body = rows.map(([first, ...rest]) =>
    make("tr", {}, make("th", { scope: "row", textContent: first }), ...rest.map((text) => make("td", { textContent: text }))),
  );
  return make("div", { className: "wide", tabIndex: 0, role: "group", "aria-label": name }, make("table", {}, head, make("tbody", {}, ...body)));
}

export function tell(element, text, bad = false) {
  element.textContent = text;
  element.classList.toggle("bad", bad);
}

// Runs `work` and shows its error, if any; returns whether it succeeded.
export async function telling(element, work) {
  try {
    await work();
    return true;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    tell(element, error.message, true);
    return false;
  }
}

// Marks every field in `faults`, a Map from field to message, at once, and removes the other marks of the form.
// Focuses the first one. Returns whether there is none.
export function valid(form, faults) {
  for (const each of form.querySelectorAll(".fault")) each.remove();
  for (const each of form.querySelectorAll("[aria-invalid]")) {
    each.removeAttribute("aria-invalid");
    each.removeAttribute("aria-describedby");
  }
  for (const [field, message] of faults) {
    const id = `fault-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", id);
    (field.closest(".chips") ?? field).after(make("p", { id, className: "fault", textContent: message }));
  }
  faults.keys().next().value?.focus();
  return faults.size === 0;
}

// Asks for confirmation before an action that affects other users; resolves to whether to continue.
export function confirmed(title, text, yes) {
  const dialog = $("confirm");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

export const short = (id) => id.replace("sha256:", "").slice(0, 12);
