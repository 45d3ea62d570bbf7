// Run by test_generated.py with the types that openapi-typescript made: ADDRESS KEY PHOTOGRAPH.
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./sigrl";

const [address, key, photograph] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${key}` } });
const data = readFileSync(photograph).toString("base64");

function check(holds: boolean, what: unknown): void {
  if (!holds) throw new Error(JSON.stringify(what));
}

const made = await client.PUT("/v1/vocabularies/{name}", {
  params: { path: { name: "pets" } },
  body: { labels: ["dog", "cat"] },
});
check(made.data?.version === 1 && made.data.size === 2, made);
const kept = await client.GET("/v1/vocabularies/{name}", { params: { path: { name: "pets" } } });
check(kept.data?.labels[1].name === "cat", kept);

const tagged = await client.POST("/v1/tag", { body: { images: [{ data }], labels: ["dog", "cat"], top_k: 2 } });
// A text if the request asks for NDJSON.
const answer = typeof tagged.data === "object" ? tagged.data : undefined;
const image = answer?.images[0];
check(image !== undefined && "tags" in image && image.tags[0].probability > 0, tagged);

const read = await client.POST("/v1/embeddings", { body: { labels: ["dog"] } });
check(read.data?.labels[0].embedding.length === 32, read);

// A raw body: the types name it as a text, because JSON has no bytes.
const shown = await client.POST("/v1/preview", {
  body: "",
  bodySerializer: () => new Blob([readFileSync(photograph)]),
  headers: { "Content-Type": "application/octet-stream" },
  parseAs: "blob",
});
check(shown.response.status === 200 && shown.response.headers.get("content-type") === "image/jpeg", shown.error);

const refused = await client.POST("/v1/tag", { body: { images: [{ data: "AAAA" }] } });
const problem: components["schemas"]["Problem"] | undefined = refused.error;
check(refused.response.status === 415 && problem !== undefined && problem.hint !== "", refused);
