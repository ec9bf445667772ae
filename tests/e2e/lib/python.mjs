// The native Python SDK in a virtual environment of the suite's own.

import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { isDeepStrictEqual, promisify } from "node:util";
import { SUITE } from "./paths.mjs";
import { until } from "./until.mjs";

const run = promisify(execFile);
const PYTHON = pythonOf(".venv");
// The Agents SDK wants another version of the client SDK beside it.
export const AGENTS_PYTHON = pythonOf(".venv-agents");

function pythonOf(environment) {
  return join(SUITE, environment, "bin", "python");
}

/** Makes the environment when it is missing or was made from another list of packages. */
export const preparePython = () => prepare(".venv", "requirements.txt");

/** The same for the Agents SDK. */
export const prepareAgents = () => prepare(".venv-agents", "requirements-agents.txt");

async function prepare(environment, list) {
  const [wanted, installed] = [join(SUITE, list), join(SUITE, environment, "requirements.installed.txt")];
  if (existsSync(installed) && (await readFile(installed, "utf8")) === (await readFile(wanted, "utf8"))) return;
  console.log(`installing the Python packages of tests/e2e/${list} from PyPI`);
  const python = pythonOf(environment);
  if (!existsSync(python)) {
    await run("python3", ["-m", "venv", join(SUITE, environment)]).catch((error) => {
      throw new Error(`python3 -m venv failed: apt-get install python3-venv\n${error.stdout ?? ""}${error.stderr ?? error.message}`);
    });
  }
  await run(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted]);
  await copyFile(wanted, installed);
}

/**
 * Starts `python/data.py`, which joins and sends and receives data. `do(action, arguments)` answers with its result; `gets(expected)`
 * waits until something has arrived that has all the given properties.
 */
export function startDataPython({ url, token }) {
  const arrived = [];
  const answers = new Map();
  let asked = 0;
  const program = start("Python", PYTHON, [join(SUITE, "python", "data.py"), url, token], (told) => {
    if (told.arrived) arrived.push(told.arrived);
    else answers.set(told.answer, told);
  });
  return {
    identity: "pia",
    async do(action, given = {}) {
      const id = (asked += 1);
      program.order({ id, do: action, ...given });
      const answer = await until(`the Python client to answer ${action}`, () => (program.check(), answers.get(id)));
      return answer.result;
    },
    gets: (expected) => until(`the Python client to get ${JSON.stringify(expected)}`, () => (program.check(), arrived), (all) => all.some(has(expected))),
    arrived: () => arrived,
    stop: program.stop,
  };
}

/** Has all the given properties? */
export const has = (expected) => (one) => Object.entries(expected).every(([key, value]) => isDeepStrictEqual(one[key], value));

/**
 * Starts `python/person.py`, which joins, publishes, and prints one JSON object per line of what it receives.
 * `sees(what, good)` waits until the latest report satisfies `good`; `say(text)` sends a message into the room; `order` takes anything
 * that the program can be told.
 */
export function startPython(person) {
  return startPythonProgram("Python", "person.py", person);
}

/** Starts another program of the folder `python`, in the suite's environment unless `python` is another interpreter. `before` are arguments before the usual ones. */
export function startPythonProgram(what, file, person, { python = PYTHON, before = [] } = {}) {
  return startPerson(what, python, [join(SUITE, "python", file), ...before], person);
}

/** Starts a program that takes the same arguments, after `before`, and talks in the same way; `what` it is called, for messages. */
export function startPerson(what, command, before, { url, token, tone, colour }) {
  let latest = {};
  const { order, check, stop } = start(what, command, [...before, url, token, String(tone), colour.join(",")], (told) => { latest = told; });
  return {
    sees: (wanted, good) => until(`the ${what} client to report ${wanted}`, () => (check(), latest), good),
    say: (text) => order({ say: text }),
    order,
    stop,
  };
}

/**
 * A program that is told and tells one JSON object per line: `order(line)` tells it something, `hear` is called with what it tells,
 * `check()` throws when it has ended, `stop()` ends it.
 */
function start(what, command, args, hear) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
  process.once("exit", () => child.kill("SIGKILL"));
  let errors = "";
  createInterface({ input: child.stdout }).on("line", (line) => hear(JSON.parse(line)));
  child.stderr.on("data", (chunk) => { errors = (errors + chunk).slice(-4000); });
  // A process that a signal ended has no exit code.
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  return {
    order: (line) => child.stdin.write(`${JSON.stringify(line)}\n`),
    check() {
      if (ended()) throw new Error(`the ${what} client ended with ${child.signalCode ?? child.exitCode}:\n${errors}`);
    },
    async stop() {
      if (ended()) return;
      const exit = new Promise((resolve) => child.once("exit", resolve));
      child.stdin.end();
      const hard = setTimeout(() => child.kill("SIGKILL"), 5000);
      await exit;
      clearTimeout(hard);
    },
  };
}
