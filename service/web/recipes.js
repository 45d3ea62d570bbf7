// The page's last request, written for a terminal and for Python.

import { address, key } from "./api.js";
import { $ } from "./dom.js";
import { t } from "./texts.js";

export function showRecipes(filename, fields) {
  $("curl").textContent = curl(filename, fields);
  $("python").textContent = python(filename, fields);
}

export function start() {
  for (const each of ["curl", "python"]) {
    $(`copy-${each}`).addEventListener("click", async () => {
      await navigator.clipboard.writeText($(each).textContent);
      $(`copy-${each}`).textContent = t("recipes.copied");
      setTimeout(() => ($(`copy-${each}`).textContent = t("recipes.copy")), 2000);
    });
  }
}

function curl(filename, fields) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const given = [...fields].map(([name, value]) => ` -F ${quoted(`${name}=${value}`)}`).join("");
  const header = key() ? ' -H "Authorization: Bearer $SIGRL_API_KEY"' : "";
  return `curl${header} -F ${quoted(`image=@${filename}`)}${given} ${address("v1/tag")}`;
}

// Strings and lists are written the same in JSON and in Python.
function python(filename, fields) {
  const vocabulary = fields.get("vocabulary");
  const labels = (fields.get("labels") ?? "[]").replaceAll('","', '", "');
  const named = vocabulary === null ? labels : `vocabulary=${JSON.stringify(vocabulary)}`;
  const wanted = vocabulary === null && !fields.has("labels") ? "" : `, ${named}`;
  const note = key() ? "  # the key is read from SIGRL_API_KEY" : "";
  return [
    "from sigrl.client import Client",
    "",
    `with Client(${JSON.stringify(address(".").href.replace(/\/$/, ""))}) as client:${note}`,
    `    answer = client.tag(${JSON.stringify(filename)}${wanted})`,
    "    for tag in answer.images[0].tags:",
    "        print(tag.label, tag.probability)",
  ].join("\n");
}
