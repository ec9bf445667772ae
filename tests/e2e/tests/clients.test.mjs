// Every kind of client there is, in the same scenario: docs/results/clients.md is the outcome.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { startGate } from "../clients/gate.mjs";
import { KINDS } from "../clients/kinds.mjs";
import { render, worse, write } from "../clients/matrix.mjs";
import { play } from "../clients/scenario.mjs";
import { ownAddress } from "../lib/link.mjs";
import { SUITE } from "../lib/paths.mjs";
import { preparePython } from "../lib/python.mjs";
import { freshRoom, openStage } from "../lib/stage.mjs";

/** On the way to the client and back. */
const LINE = { down: "delay=5ms", up: "delay=5ms", host: ownAddress() };

/** So many rows at a time, each with a Bob, a link and a room of its own: most of a row is waiting. More are too much for two cores. */
const LANES = 2;

let stage;
/** Those who are free. */
const bobs = [];
/** By kind. */
const rows = new Map();
let firefoxIsFree = Promise.resolve();

before(async () => {
  await preparePython();
  // A link leads to one port, and each worker has its own.
  stage = await openStage("clients", { firefox: true, workers: 1 });
  for (let lane = 0; lane < LANES; lane++) bobs.push(await stage.person(stage.chromium, "bob"));
});

after(async () => {
  try {
    report();
  } finally {
    await stage?.close();
  }
});

describe("clients", { concurrency: LANES }, () => {
  for (const kind of spread(KINDS)) {
    test(`client: ${kind.name}`, async (t) => {
      const left = await kind.missing?.();
      if (left) {
        rows.set(kind, { name: kind.name, left });
        console.log(`left out: ${kind.name}: ${left}`);
        return t.skip(left);
      }
      const cells = await (kind.options?.browser === "firefox" ? inFirefox(() => playOut(kind)) : playOut(kind));
      rows.set(kind, { name: kind.name, cells, remarks: kind.remarks });
      console.log(`${kind.name}: ${secondsOf(cells)}`);
      const faults = worse({ name: kind.name, cells });
      assert.deepEqual(faults, [], faults.join("\n"));
      assert.ok(stage.server.alive, stage.server.tail);
    });
  }
});

/** Kinds in an order in which those in browsers, which need most of the machine, are not side by side. */
function spread(kinds) {
  const heavy = kinds.filter(({ options }) => options?.browser);
  const light = kinds.filter(({ options }) => !options?.browser);
  const share = Math.ceil(light.length / Math.max(1, heavy.length));
  return [...heavy.flatMap((kind) => [kind, ...light.splice(0, share)]), ...light];
}

/** One at a time: of several pages in one Firefox, all but the one in front draw slowly. */
async function inFirefox(work) {
  const turn = firefoxIsFree.then(work);
  firefoxIsFree = turn.catch(() => undefined);
  return turn;
}

async function playOut(kind) {
  const bob = bobs.pop();
  try {
    return await playWith(bob, kind);
  } finally {
    bobs.push(bob);
  }
}

/** A Bob and a client of this kind in a room of their own. */
async function playWith(bob, kind) {
  const link = await stage.link(LINE);
  const gate = await startGate(stage.server, link);
  const client = await kind.open({ stage, identity: kind.identity, ...kind.options });
  const room = freshRoom("clients");
  try {
    await bob.join(room);
    await bob.publish();
    return await play({ client, bob, room, gate, link });
  } finally {
    await client.close();
    await bob.do("leave");
    await gate.stop();
    await link.stop();
  }
}

/** How long each step took. */
function secondsOf(cells) {
  return Object.entries(cells).filter(([, { ms }]) => ms !== undefined).map(([step, { ms }]) => `${step} ${(ms / 1000).toFixed(1)}`).join(", ");
}

function report() {
  const page = render(KINDS.filter((kind) => rows.has(kind)).map((kind) => rows.get(kind)), versions());
  console.log(page);
  if (process.env.UPDATE_CLIENTS && rows.size === KINDS.length) write(page);
}

/** Of the packages that were tried. */
function versions() {
  const { dependencies } = JSON.parse(readFileSync(join(SUITE, "package.json"), "utf8"));
  const python = readFileSync(join(SUITE, "requirements.txt"), "utf8").split("\n").filter((line) => /^(livekit|av|aiortc)==/.test(line));
  return `Versions: livekit-client ${dependencies["livekit-client"]}, @livekit/rtc-node ${dependencies["@livekit/rtc-node"]}; of PyPI ${python.join(", ")}.`;
}
