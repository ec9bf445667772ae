// The matrix as text: written to docs/results/clients.md, read from there, compared with it.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { REPOSITORY } from "../lib/paths.mjs";
import { STEPS } from "./scenario.mjs";

export const PAGE = join(REPOSITORY, "docs", "results", "clients.md");
const COLUMNS = Object.keys(STEPS);

const HEAD = `# Clients

What each kind of client does against Stoa, found by \`tests/e2e/tests/clients.test.mjs\` and written by it with \`UPDATE_CLIENTS=1\`.
Bob, on the other side, is \`livekit-client\` in Chromium.

Rows *shaped like* an SDK are programs of ours that say on the wire what it says, told from its source: the phones' with libwebrtc (Chromium's), as they
have it, the ESP32's with aiortc, and Safari's with the stock client in a Chromium that admits only what Safari knows.

- *See* and *hear* are what the client receives of him, *publish* what he receives of it: decoded pictures of the right size and colour,
  and tones of the right pitch.
- *Mute* goes both ways where the client has it; the Node SDK has no call for its own tracks.
- *Socket cut* resets the signal connection: the client goes on in the same session, and Bob sees nobody go or come.
- *Path cut* takes away all media packets of both directions for 6 s after the picture has stopped: all see and hear each other again, in
  the same session. Firefox on two connections joins anew now and then: that is not held against it.

A number in place of an answer is a note: why that does not exist for this client, or was not tried. One behind it says how it was.
`;

/**
 * The page for `rows`: a list of `{name, cells, remarks}`, or `{name, left}` for kinds that were left out and why. `remarks` has what is to
 * be said of a step. `versions` is a line of text.
 */
export function render(rows, versions) {
  const notes = [];
  const note = (text) => (notes.includes(text) ? notes.indexOf(text) + 1 : notes.push(text));
  const word = (row, step) => {
    const cell = row.left ? { lacks: row.left } : row.cells[step];
    if (cell.lacks) return `${note(cell.lacks)}`;
    const remark = row.remarks?.[step];
    return `${cell.ok ? "yes" : "NO"}${remark ? ` (${note(remark)})` : ""}`;
  };
  const lines = rows.map((row) => `| ${[row.name, ...COLUMNS.map((step) => word(row, step))].join(" | ")} |`);
  const table = [`| client | ${COLUMNS.join(" | ")} |`, `|${"---|".repeat(COLUMNS.length + 1)}`, ...lines];
  return [HEAD, ...table, "", ...notes.map((text, index) => `${index + 1}. ${text}`), "", versions, ""].join("\n");
}

/** What the committed page says: by row and step, "yes", "NO" or a number. */
function committed() {
  const page = existsSync(PAGE) ? readFileSync(PAGE, "utf8") : "";
  const lines = page.split("\n").filter((line) => line.startsWith("| ")).map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
  const [[, ...steps] = [], ...rows] = lines;
  return Object.fromEntries(rows.map(([name, ...cells]) => [name, Object.fromEntries(cells.map((cell, index) => [steps[index], cell]))]));
}

/** The steps of a row that do not work, as sentences; without those that the committed page admits not to. */
export function worse({ name, cells }) {
  const before = committed()[name] ?? {};
  return COLUMNS.filter((step) => cells[step].error && !before[step]?.startsWith("NO")).map((step) => `${step}: ${cells[step].error}`);
}

export function write(page) {
  writeFileSync(PAGE, page);
}
