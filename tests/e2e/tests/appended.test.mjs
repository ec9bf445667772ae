// What publishers append to frames (protocol 17) reaches clients that say that they know it, and is taken off for all others.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const SIZE = { width: 640, height: 360 };

let stage;

before(async () => { stage = await openStage("appended", { workers: 2 }); });
after(() => stage?.close());

/** Ada appends numbers and times to her frames, and Bob sees her; then `during` runs. */
async function call(single, during) {
  const ada = await stage.person(stage.chromium, "ada");
  const bob = await stage.person(stage.chromium, "bob");
  const room = freshRoom("appended");
  try {
    await ada.join(room, { appends: true });
    await bob.join(room, { single, appends: true });
    await ada.publish({ ...SIZE, video: { frameMetadata: { timestamp: true, frameId: true } } });
    await bob.watches(ada, SIZE);
    await during(bob, ada);
  } finally {
    await Promise.all([ada.close(), bob.close()]);
  }
}

test("Appended: numbers and times of frames reach a client that knows them", async () => {
  await call(true, async (bob) => {
    const appended = () => bob.do("appended", { identity: "ada" });
    const first = await until("a frame with its number", appended, (found) => found?.frameId > 0);
    await until("a later one", appended, (found) => found?.frameId > first.frameId);
    const ends = await bob.do("frameEnds", { identity: "ada" });
    assert.ok(ends.every((end) => end === "LKTS"), `frames end with ${ends}`);
  });
});

test("Appended: a client that does not say that it knows them gets frames alone", async () => {
  // On two connections the stock client does not say so.
  await call(false, async (bob, ada) => {
    const ends = await bob.do("frameEnds", { identity: "ada" });
    assert.ok(!ends.includes("LKTS"), "bytes behind the frame");
    await bob.watches(ada, SIZE);
  });
});
