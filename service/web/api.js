// Requests to the service, its problem documents as errors, and the API key of this tab.

import { has, language, t } from "./texts.js";

const PLAIN = { "Content-Type": "application/json" };
const ATTEMPTS = 8;
const BUSY = [429, 503];
const PREFIX = "urn:sigrl:problem:";

// An error whose message says in the reader's language what happened and what to do.
export class Problem extends Error {
  // `problem`: a problem document of the service, or one with only a `type`.
  constructor(problem) {
    const key = `problem.${problem.type?.replace(PREFIX, "")}`;
    super(t(has(key) ? key : "problem.other", problem));
    Object.assign(this, problem);
  }
}

export function key() {
  return sessionStorage.getItem("key") ?? "";
}

export function useKey(text) {
  sessionStorage.setItem("key", text.trim());
}

// Returns the response. `body` is a form, a file, or a value to send as JSON. Throws Problem.
async function request(method, path, body, headers) {
  const isPlain = body !== undefined && !(body instanceof FormData) && !(body instanceof Blob);
  const used = key();
  let response;
  try {
    response = await fetch(address(path), {
      method,
      body: isPlain ? JSON.stringify(body) : body,
      headers: { "Accept-Language": language, ...(used ? { Authorization: `Bearer ${used}` } : {}), ...(isPlain ? PLAIN : {}), ...headers },
    });
  } catch {
    throw new Problem({ type: "unreachable", status: 0 });
  }
  if (response.ok) return response;
  const problem = new Problem((await response.json().catch(() => null)) ?? { title: response.statusText, detail: "" });
  problem.status = response.status;
  problem.retryAfter = Number(response.headers.get("Retry-After"));
  if ([401, 403].includes(response.status) && used === key()) document.dispatchEvent(new CustomEvent("key-needed", { detail: problem }));
  throw problem;
}

// Returns { content, etag }. Throws Problem.
export async function send(method, path, body, headers = {}) {
  const response = await request(method, path, body, headers);
  return { content: response.status === 204 ? null : await response.json(), etag: response.headers.get("ETag") };
}

export async function ask(path, form) {
  return (await send(form ? "POST" : "GET", path, form)).content;
}

// Does `work`, a request, again as long as the service is busy, after the pause that it asks for.
export async function patiently(work) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!BUSY.includes(error.status) || attempt === ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter || 2)));
    }
  }
}

// A photograph as the service decodes it, for formats that the browser cannot show. Returns a Blob.
export async function preview(file) {
  return (await request("POST", "v1/preview", file, { "Content-Type": "application/octet-stream" })).blob();
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
