// Helpers to make elements, show messages and ask for confirmation.

import { Problem } from "./api.js";

export const $ = (id) => document.getElementById(id);

// An element with properties (`data-…`, `aria-…` and `role` as attributes) and children.
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

export const percent = (share) => `${Math.round(share * 100)} %`;

export const short = (id) => id.replace("sha256:", "").slice(0, 12);
