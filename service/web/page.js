// Starts the parts of the page.

import { useKey } from "./api.js";
import { $ } from "./dom.js";
import * as admin from "./admin.js";
import * as tagging from "./tagging.js";
import * as views from "./views.js";
import * as editor from "./vocabulary_editor.js";

$("needs-key").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey($("key").value);
  $("needs-key").hidden = true;
  document.dispatchEvent(new CustomEvent("key-given"));
  views.refresh();
});

tagging.start();
editor.start();
admin.start();
views.start();
