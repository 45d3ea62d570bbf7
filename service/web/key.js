// Asks for an API key when the service wants one.

import { useKey } from "./api.js";
import { $, tell } from "./dom.js";

const MISSING = "urn:sigrl:problem:missing-key";

// Shows the form. Without a valid key nothing else on the page works, so nothing else is shown; a key that does not allow
// one thing still allows others.
function needed(problem) {
  const isAskedAnew = $("needs-key").hidden;
  $("needs-key").hidden = false;
  $("content").hidden = problem.status === 401;
  tell($("key-problem"), problem.type === MISSING ? "" : problem.message, true);
  // Not again for every request that fails: somebody may be typing the key.
  if (problem.status !== 401 || !isAskedAnew) return;
  $("key").value = "";
  $("key").focus();
}

export function start() {
  document.addEventListener("key-needed", ({ detail }) => needed(detail));
  $("needs-key").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey($("key").value);
    $("needs-key").hidden = true;
    $("content").hidden = false;
    document.dispatchEvent(new CustomEvent("key-given"));
  });
  addEventListener("hashchange", () => {
    if (!$("content").hidden) $("needs-key").hidden = true;
  });
}
