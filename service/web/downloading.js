// The tags of all photographs as a file, with the columns of `sigrl tag --out` for the tags that are shown.

const ASK_FOR_QUOTES = /[",\n\r]/;
// A spreadsheet would take a cell that begins so for a formula.
const FORMULA = /^[=+\-@\t]/;

const KINDS = { csv: { type: "text/csv", write: csv }, json: { type: "application/json", write: json } };

// `results(photograph)` returns { accepted, implied, guesses } of a tagged one.
export function download(kind, photographs, results) {
  const { type, write } = KINDS[kind];
  const url = URL.createObjectURL(new Blob([write(photographs, results)], { type }));
  const link = document.createElement("a");
  [link.href, link.download] = [url, `tags.${kind}`];
  link.click();
  URL.revokeObjectURL(url);
}

function csv(photographs, results) {
  const rows = [["path", "label", "probability", "threshold", "error"]];
  for (const { file, state, problem, ...photograph } of photographs) {
    const tags = state === "tagged" ? results(photograph).accepted : [];
    for (const tag of tags) rows.push([file.name, tag.label, tag.probability, tag.threshold, ""]);
    if (!tags.length) rows.push([file.name, "", "", "", problem?.message ?? ""]);
  }
  // Excel reads UTF-8 only with a byte-order mark.
  return `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

function cell(value) {
  const text = typeof value === "string" && FORMULA.test(value) ? `'${value}` : String(value);
  return ASK_FOR_QUOTES.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function json(photographs, results) {
  const few = (tags) => tags.map(({ label, probability, threshold }) => ({ label, probability, threshold }));
  const all = photographs.map(({ file, state, problem, ...photograph }) => {
    if (state !== "tagged") return { path: file.name, tags: [], error: problem?.message ?? null };
    const { accepted, implied, guesses } = results(photograph);
    return { path: file.name, tags: few(accepted), implied: few(implied), guesses: few(guesses) };
  });
  return `${JSON.stringify(all, null, 2)}\n`;
}
