// More reliable data than a receiver's network carries: the sender waits for a receiver that is fast enough, and loses nothing;
// nobody waits for one that is too slow.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const MESSAGE = 10_000;
/** 1.5 Mbit/s, six times what a receiver needs for others to wait for it. */
const FAST = { down: "rate=1500kbit,delay=20ms,queue=300ms", up: "rate=5mbit,delay=20ms,queue=300ms" };
/** A quarter of that. */
const SLOW = { down: "rate=60kbit,delay=20ms,queue=2000ms", up: "rate=5mbit,delay=20ms,queue=300ms" };
const PATIENCE_MS = 60_000;

let stage;

before(async () => {
  // A link leads to one port, and each worker has its own.
  stage = await openStage("floods", { workers: 1 });
});

after(() => stage?.close());

/** Ada sends; Bob is behind a link, Cid is not. */
async function flood(conditions, count, check) {
  const link = await stage.link(conditions);
  const ada = await stage.person(stage.chromium, "ada");
  const bob = await stage.person(stage.chromium, "bob", link);
  const cid = await stage.person(stage.chromium, "cid");
  const room = freshRoom("floods");
  try {
    for (const person of [ada, bob, cid]) await person.join(room);
    await until("ada to see both", () => ada.do("people"), (people) => people.length === 2);
    await ada.do("startNumbers", { count, length: MESSAGE });
    await check({ ada, bob, cid });
  } finally {
    await Promise.all([ada, bob, cid].map((person) => person.close()));
    await link.stop();
  }
}

const whole = (count) => ({ count, gaps: 0, first: 0, last: count - 1 });
const hasLast = (count) => ({ last }) => last === count - 1;

test("Floods: who sends more than a fast enough receiver's line carries is slowed down, and nothing is lost", async () => {
  const count = 500;
  await flood(FAST, count, async ({ ada, bob, cid }) => {
    const { ms } = await until("ada to have sent all", () => ada.do("sending"), ({ ms }) => ms, PATIENCE_MS);
    // 5 MB take 27 s; what the server and the sender themselves hold of it is a few MB.
    assert.ok(ms > 5_000, `she was slowed down: ${ms} ms`);
    assert.deepEqual(await until("bob to have all", () => bob.do("numbers"), hasLast(count), PATIENCE_MS), whole(count));
    assert.deepEqual(await until("cid to have all", () => cid.do("numbers"), hasLast(count), PATIENCE_MS), whole(count));
  });
});

test("Floods: a receiver that is too slow loses messages, and slows neither the sender nor others", async () => {
  const count = 600;
  await flood(SLOW, count, async ({ ada, bob, cid }) => {
    assert.deepEqual(await until("cid to have all", () => cid.do("numbers"), hasLast(count)), whole(count));
    const { ms } = await ada.do("sending");
    assert.ok(ms < 10_000, `she was hardly slowed down: ${ms} ms; 6 MB would take a quarter of an hour on that line`);
    const { count: got } = await bob.do("numbers");
    assert.ok(got < count / 2, `bob has ${got}`);
  });
});
