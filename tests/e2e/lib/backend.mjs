// The stock server SDK for Python, in the environment that `preparePython` makes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { SUITE } from "./paths.mjs";

/**
 * Starts `python/api.py`, which calls the server as it is asked, one call after the other. `call(method, message, fields)` resolves to
 * the answer; `fails(…, error)` asserts that it is refused so.
 */
export function startApi(url) {
  const child = spawn(join(SUITE, ".venv", "bin", "python"), [join(SUITE, "python", "api.py"), url], { stdio: ["pipe", "pipe", "inherit"] });
  process.once("exit", () => child.kill("SIGKILL"));
  const waiting = [];
  createInterface({ input: child.stdout }).on("line", (line) => waiting.shift()?.resolve(JSON.parse(line)));
  child.once("exit", (code) => waiting.splice(0).forEach(({ reject }) => reject(new Error(`the Python back end ended with ${code}`))));
  const ask = (asked) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      child.stdin.write(`${JSON.stringify(asked)}\n`);
    });
  const answered = async (asked) => {
    const { answer, error } = await ask(asked);
    assert.equal(error, undefined, `${asked.method}: ${JSON.stringify(error)}`);
    return answer;
  };
  return {
    call: (method, message, fields) => answered({ method, message, fields }),
    /** A method of a service other than RoomService; `given` is `{ message, fields }` or `{ values }`. */
    callOf: (service, method, given) => answered({ service, method, ...given }),
    async fails(method, message, fields, error) {
      assert.deepEqual((await ask({ method, message, fields })).error, error, method);
    },
    async stop() {
      if (child.exitCode !== null) return;
      const exit = new Promise((resolve) => child.once("exit", resolve));
      child.stdin.end();
      await exit;
    },
  };
}
