// The page: a photograph and labels in, bars out, and over the photograph where a label was seen.
import { ask, Problem } from "./api.js";
import { draw } from "./picture.js";

const $ = (id) => document.getElementById(id);
const SHOWN = 60;
const photographs = [];
let current = null; // { file, image, tags, maps, answer }

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function fail(error) {
  if (!(error instanceof Problem)) throw error;
  $("needs-key").hidden = error.status !== 401 && $("needs-key").hidden;
  say(`${error.title}: ${error.detail} (${error.hint})`, true);
}

function asked() {
  const form = new FormData();
  const vocabulary = $("vocabulary").value;
  if (vocabulary) form.append("vocabulary", vocabulary);
  else form.append("labels", $("labels").value);
  return form;
}

async function add(files) {
  for (const file of files) {
    const photograph = { file, image: null, tags: null, maps: new Map() };
    try {
      photograph.image = await createImageBitmap(file, { imageOrientation: "from-image" });
    } catch {
      // The browser may not know a format that the service does, and the other way round: the service decides.
    }
    photographs.push(photograph);
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const small = document.createElement("img");
    small.alt = file.name;
    small.src = URL.createObjectURL(file);
    button.append(small);
    button.addEventListener("click", () => show(photograph));
    photograph.button = button;
    item.append(button);
    $("strip").append(item);
    show(photograph);
    await tag(photograph);
  }
}

function show(photograph) {
  current = photograph;
  for (const each of photographs) each.button.setAttribute("aria-current", String(each === photograph));
  $("invitation").hidden = true;
  $("picture").hidden = photograph.image === null;
  $("picture").setAttribute("aria-label", photograph.file.name);
  if (photograph.image) draw($("picture"), photograph.image);
  list();
}

async function tag(photograph) {
  say(`Tagging ${photograph.file.name} …`);
  $("drop").setAttribute("aria-busy", "true");
  const form = asked();
  form.append("image", photograph.file, photograph.file.name);
  form.append("top_k", String(SHOWN));
  try {
    const began = performance.now();
    const answer = await ask("v1/tag", form);
    Object.assign(photograph, { tags: answer.images[0].tags, answer, maps: new Map() });
    const accepted = photograph.tags.filter((each) => each.accepted).length;
    say(`${accepted} of ${answer.vocabulary.size} labels hold (${Math.round(performance.now() - began)} ms)`);
    if (photograph === current) list();
  } catch (error) {
    fail(error);
  } finally {
    $("drop").removeAttribute("aria-busy");
  }
}

function list() {
  const { tags, answer } = current;
  $("result").hidden = tags === null;
  if (tags === null) return;
  const chosen = Number($("threshold").value);
  $("threshold-value").textContent = chosen < 0 ? "each label's own" : `${chosen} %`;
  $("tags").replaceChildren(
    ...tags.map((each) => {
      const holds = chosen < 0 ? each.accepted : each.probability * 100 >= chosen;
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = holds ? "yes" : "no";
      const kinds = ["span", "span", "progress", "i", "span"];
      const [name, row, bar, mark, share] = kinds.map((kind) => document.createElement(kind));
      name.textContent = each.label;
      Object.assign(bar, { max: 1, value: each.probability });
      row.className = "bar";
      row.setAttribute("aria-hidden", "true");
      mark.style.left = `${chosen < 0 ? each.threshold * 100 : chosen}%`;
      row.append(bar, mark);
      share.className = "share";
      share.textContent = `${Math.round(each.probability * 100)} %`;
      button.title = `holds from ${Math.round(each.threshold * 100)} % on`;
      button.append(name, row, share);
      for (const event of ["pointerenter", "focus", "click"]) button.addEventListener(event, () => explain(each.label));
      button.addEventListener("pointerleave", () => current.image && draw($("picture"), current.image));
      item.append(button);
      return item;
    }),
  );
  const { name, version } = answer.vocabulary;
  const of = version === null ? name : `${name}, version ${version}`;
  $("made-by").textContent = `By checkpoint ${answer.checkpoint.slice(7, 19)}, vocabulary ${of}.`;
  $("curl").textContent = curl();
}

async function explain(label) {
  const photograph = current;
  if (!photograph.image) return;
  try {
    if (!photograph.maps.has(label)) {
      const form = new FormData();
      form.append("labels", JSON.stringify([label]));
      form.append("image", photograph.file, photograph.file.name);
      photograph.maps.set(label, ask("v1/explain", form));
    }
    const explanation = await photograph.maps.get(label);
    if (photograph !== current) return;
    draw($("picture"), photograph.image, explanation.tags[0].grid, explanation.covers);
    $("picture").dataset.label = label;
    $("picture").setAttribute("aria-label", `${photograph.file.name}, where “${label}” is seen`);
  } catch (error) {
    photograph.maps.delete(label);
    fail(error);
  }
}

function curl() {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const fields = [...asked()].map(([name, value]) => `-F ${quoted(`${name}=${value}`)}`).join(" ");
  const key = sessionStorage.getItem("key") ? ' -H "Authorization: Bearer $SIGRL_API_KEY"' : "";
  return `curl${key} -F ${quoted(`image=@${current.file.name}`)} ${fields} ${new URL("v1/tag", document.baseURI)}`;
}

$("files").addEventListener("change", (event) => add(event.target.files).catch(fail));
document.addEventListener("paste", (event) => add([...event.clipboardData.files]).catch(fail));
for (const event of ["dragenter", "dragover"]) {
  $("drop").addEventListener(event, (drag) => {
    drag.preventDefault();
    $("drop").classList.add("over");
  });
}
for (const event of ["dragleave", "drop"]) {
  $("drop").addEventListener(event, (drag) => {
    drag.preventDefault();
    $("drop").classList.remove("over");
  });
}
$("drop").addEventListener("drop", (event) => add([...event.dataTransfer.files]).catch(fail));
$("vocabulary").addEventListener("change", () => ($("own").hidden = $("vocabulary").value !== ""));
$("threshold").addEventListener("input", list);
$("copy").addEventListener("click", () => navigator.clipboard.writeText($("curl").textContent));
$("key").addEventListener("change", () => sessionStorage.setItem("key", $("key").value));
$("asked").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (current === null) say("Choose a photograph first.");
  for (const photograph of photographs) await tag(photograph);
});

try {
  const { vocabularies } = await ask("v1/vocabularies");
  for (const each of vocabularies) {
    const option = new Option(`${each.name} (${each.size} labels)`, each.name);
    $("vocabulary").append(option);
  }
} catch (error) {
  fail(error);
}
