// Runs the test files whose name contains the word given, or all, and ends with one line of JSON: what passed, what failed.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { run } from "node:test";

const FOLDER = import.meta.dirname;
const [word = ""] = process.argv.slice(2);
const results = { passed: 0, failed: 0, tests: [] };
const files = readdirSync(FOLDER).filter((file) => file.endsWith(".test.mjs") && file.includes(word)).sort();

for await (const { type, data } of run({ files: files.map((file) => join(FOLDER, file)), concurrency: 2, timeout: 600_000 })) {
  if (type === "test:stdout" || type === "test:stderr") process.stderr.write(data.message);
  if (type !== "test:pass" && type !== "test:fail") continue;
  if (data.skip !== undefined || data.details.error?.failureType === "subtestsFailed" || (data.details.type === "suite" && type === "test:pass")) continue;
  // A file without a fault of its own is no test.
  if (data.name.startsWith(FOLDER) && type === "test:pass") continue;
  const passed = type === "test:pass";
  results[passed ? "passed" : "failed"] += 1;
  results.tests.push({ name: data.name, ms: Math.round(data.details.duration_ms), ...(!passed && { failed: true }) });
  console.log(`${passed ? "ok  " : "FAIL"} ${data.name}`);
  if (!passed) console.log(String((data.details.error?.cause ?? data.details.error)?.stack));
}
process.stdout.write(`${JSON.stringify(results)}\n`, () => process.exit(results.failed === 0 && results.passed > 0 ? 0 : 1));
