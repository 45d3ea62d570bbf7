// The texts of the page in the reader's language. Every text is in LANGUAGE.json; code and HTML hold only keys.

const LANGUAGES = ["en", "de"];
const KEPT = "language";
let texts = {};
let forms = new Intl.PluralRules("en");
export let language = "en";

// Fetches the texts and puts them into the document. Announces a change of the language as `language-changed`.
export async function speak(wanted = preferred()) {
  const response = await fetch(new URL(`web/${wanted}.json`, document.baseURI));
  texts = await response.json();
  language = wanted;
  forms = new Intl.PluralRules(language);
  document.documentElement.lang = language;
  translate();
  document.dispatchEvent(new CustomEvent("language-changed"));
}

export function start() {
  const choice = document.getElementById("language");
  choice.value = language;
  choice.addEventListener("change", () => {
    localStorage.setItem(KEPT, choice.value);
    speak(choice.value);
  });
}

// The text of a key. `{name}` stands for a value; where a text has several forms, `count` chooses among them.
export function t(key, values = {}) {
  const found = texts[key];
  const text = typeof found === "object" ? (found[forms.select(values.count)] ?? found.other) : found;
  return text.replace(/\{(\w+)\}/g, (_, name) => shown(values[name]));
}

export const has = (key) => key in texts;

// A share of one in percent, with one decimal if a whole number would be on the wrong side of `limit`.
export function percent(share, limit = null) {
  const isMisleading = limit !== null && share < limit !== Math.round(share * 100) < Math.round(limit * 100);
  const told = isMisleading ? Math.floor(share * 1000) / 1000 : share;
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: isMisleading ? 1 : 0 }).format(told);
}

export function decimal(value, digits = 1) {
  return new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

export function listed(words) {
  return new Intl.ListFormat(language).format(words);
}

function shown(value) {
  return typeof value === "number" ? new Intl.NumberFormat(language).format(value) : value;
}

function preferred() {
  const wanted = [localStorage.getItem(KEPT), ...navigator.languages.map((each) => each.split("-")[0])];
  return wanted.find((each) => LANGUAGES.includes(each)) ?? LANGUAGES[0];
}

function translate() {
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = t(each.dataset.text);
  for (const each of document.querySelectorAll("[data-aria]")) each.setAttribute("aria-label", t(each.dataset.aria));
  for (const each of document.querySelectorAll("[data-hint]")) each.placeholder = t(each.dataset.hint);
}
