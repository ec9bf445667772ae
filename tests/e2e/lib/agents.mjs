// Workers of the stock Agents SDK, in the environment that `prepareAgents` makes.

import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { SUITE } from "./paths.mjs";
import { AGENTS_PYTHON } from "./python.mjs";
import { until } from "./until.mjs";

// Loading the SDK takes seconds of processor time, and a process for the first job the same again.
const START_MS = 90_000;

/**
 * Starts `python/agent.py`, a worker whose agents play a tone, and waits until it is registered. `job(good)` waits for one that has joined
 * its room; `left(job)` until it has ended; `kill()` ends the worker and all its processes without a word.
 */
export async function startAgents({ url, name = "", tone, kind = "room" }) {
  // A group of its own, with the processes of its jobs.
  const child = spawn(AGENTS_PYTHON, [join(SUITE, "python", "agent.py"), url, name, String(tone), kind], { stdio: ["pipe", "pipe", "pipe"], detached: true });
  const killAll = () => {
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch (error) {
      // Nothing is left of it.
      if (error.code !== "ESRCH") throw error;
    }
  };
  process.once("exit", killAll);
  const told = [];
  let errors = "";
  createInterface({ input: child.stdout }).on("line", (line) => { if (line.startsWith("{")) told.push(JSON.parse(line)); });
  child.stderr.on("data", (chunk) => { errors = (errors + chunk).slice(-4000); });
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  const tells = (what, pick, patience) =>
    until(`a worker to tell ${what}`, () => {
      if (ended()) throw new Error(`it ended with ${child.signalCode ?? child.exitCode}:\n${errors}`);
      return told.map(pick).find(Boolean);
    }, Boolean, patience);
  const worker = {
    id: undefined,
    job: (good = () => true, patience = START_MS) => tells("of a job", ({ job }) => job && good(job) && job, patience),
    left: (job) => tells(`that ${job.id} has ended`, ({ left }) => left === job.id),
    jobs: () => told.flatMap(({ job }) => job ?? []),
    kill: killAll,
    async stop() {
      if (!ended()) {
        const exit = new Promise((resolve) => child.once("exit", resolve));
        child.stdin.end();
        const hard = setTimeout(killAll, 15_000);
        await exit;
        clearTimeout(hard);
      }
      killAll();
      process.off("exit", killAll);
    },
  };
  worker.id = await tells("its registration", ({ registered }) => registered, START_MS).catch(async (error) => {
    killAll();
    throw new Error(`${error.message}\n${errors}`);
  });
  return worker;
}
