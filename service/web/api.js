// What the service answers, and its problems as errors.

export class Problem extends Error {
  constructor(problem) {
    super(problem.title);
    Object.assign(this, problem);
  }
}

export async function ask(path, body) {
  const key = sessionStorage.getItem("key");
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), {
      method: body ? "POST" : "GET",
      body,
      headers: key ? { Authorization: `Bearer ${key}` } : {},
    });
  } catch {
    throw new Problem({ status: 0, title: "The service does not answer", detail: "the connection failed", hint: "try again" });
  }
  const answer = await response.json();
  if (!response.ok) throw new Problem(answer);
  return answer;
}
