// Requests to the service, its problem documents as errors, and the API key of this tab.

const PLAIN = { "Content-Type": "application/json" };

export class Problem extends Error {
  constructor(problem) {
    super(`${problem.title}: ${problem.detail} (${problem.hint})`);
    Object.assign(this, problem);
  }
}

export function key() {
  return sessionStorage.getItem("key") ?? "";
}

export function useKey(text) {
  sessionStorage.setItem("key", text.trim());
}

// Returns { content, etag }. `body` is a form, or a value to send as JSON. Throws Problem.
export async function send(method, path, body, headers = {}) {
  const isForm = body instanceof FormData;
  let response;
  try {
    response = await fetch(address(path), {
      method,
      body: isForm || body === undefined ? body : JSON.stringify(body),
      headers: {
        ...(key() ? { Authorization: `Bearer ${key()}` } : {}),
        ...(isForm || body === undefined ? {} : PLAIN),
        ...headers,
      },
    });
  } catch {
    throw new Problem({ status: 0, title: "The service cannot be reached", detail: "the connection failed", hint: "try again" });
  }
  const content = response.status === 204 ? null : await response.json().catch(() => null);
  if (!response.ok) {
    const problem = new Problem(content ?? { title: "The request failed", detail: `status ${response.status}`, hint: "try again" });
    problem.status = response.status;
    if ([401, 403].includes(response.status)) document.dispatchEvent(new CustomEvent("key-needed"));
    throw problem;
  }
  return { content, etag: response.headers.get("ETag") };
}

export async function ask(path, form) {
  return (await send(form ? "POST" : "GET", path, form)).content;
}

export function address(path) {
  return new URL(path, document.baseURI);
}

// All vocabularies, from all pages of the list.
export async function vocabularies() {
  const found = [];
  for (let path = "v1/vocabularies?limit=1000"; path; ) {
    const page = await ask(path);
    found.push(...page.vocabularies);
    path = page.next?.slice(1);
  }
  return found;
}
