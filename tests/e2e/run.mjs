// Runs the test files one after the other (README.md says how, and what the last line of output means).

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { run } from "node:test";
import { missingBrowsers } from "./lib/browsers.mjs";
import { SUITE } from "./lib/paths.mjs";

const FOLDER = join(SUITE, "tests");
// A whole file, not one test: the three-browser call is the longest. Ends a file that hangs.
const FILE_TIMEOUT_MS = 8 * 60_000;

const [fileWord = "", nameWord] = process.argv.slice(2);
const results = { passed: 0, failed: 0, tests: [] };

try {
  const missing = missingBrowsers();
  if (missing.length > 0) throw new Error(missing.join("\n"));
  await runAll();
} catch (error) {
  console.error(error.message);
  record({ name: "the suite runs", ms: 0, passed: false });
}
// Nothing may follow this line; the process ends by itself with what is still open.
process.stdout.write(`${JSON.stringify(results)}\n`, () => process.exit(results.failed === 0 && results.passed > 0 ? 0 : 1));

async function runAll() {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith(".test.mjs") && file.includes(fileWord)).sort();
  if (files.length === 0) throw new Error(`no test file has "${fileWord}" in its name`);
  const events = run({
    files: files.map((file) => join(FOLDER, file)),
    concurrency: 1,
    timeout: FILE_TIMEOUT_MS,
    ...(nameWord && { testNamePatterns: [nameWord] }),
  });
  for await (const { type, data } of events) {
    if (type === "test:pass" || type === "test:fail") report(data, type === "test:pass");
    else if (type === "test:diagnostic" && data.line > 1) console.log(indented(data.message));
    else if (type === "test:stdout" || type === "test:stderr") process.stderr.write(data.message);
  }
}

function report({ name, details, skip }, passed) {
  // Groups are no tests: their failures are counted with the tests in them. Tests outside the chosen name count as skipped.
  if (details.type === "suite" && passed) return;
  if (skip !== undefined) return;
  if (isGroupOfFailures(details)) return;
  record({ name: nameOf(name), ms: Math.round(details.duration_ms), passed });
  if (!passed) console.log(indented(reasonOf(details.error)));
}

/** A group, or a file, that failed only because tests in it failed: those are counted by themselves. */
function isGroupOfFailures({ error }) {
  return error?.failureType === "subtestsFailed";
}

function nameOf(name) {
  return name.startsWith(FOLDER) ? `${name.slice(FOLDER.length + 1)} as a whole` : name;
}

function record({ name, ms, passed }) {
  results[passed ? "passed" : "failed"] += 1;
  results.tests.push({ name, ms, ...(!passed && { failed: true }) });
  console.log(`${passed ? "ok  " : "FAIL"} ${(ms / 1000).toFixed(1).padStart(6)} s  ${name}`);
}

function reasonOf(error) {
  const cause = error?.cause ?? error;
  return cause?.stack ?? cause?.message ?? String(cause);
}

function indented(text) {
  return text.split("\n").slice(0, 40).map((line) => `       ${line}`).join("\n");
}
