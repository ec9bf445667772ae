// Publishers whose one stream holds several layers (SVC), and a subscriber who chooses among them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const FULL = { width: 640, height: 360 };
// L3T3_KEY at this size: Chromium encodes no layer smaller than 240x135, so there are two, the lower with half the sides.
const LOW = { width: 320, height: 180 };
const LONGEST_FREEZE_MS = 2_000;
// Encoders need some time for all layers on a busy machine.
const SAMPLE_MS = 100;

let stage;
let [ada, bob] = [];

before(async () => {
  stage = await openStage("layers");
  ada = await stage.person(stage.chromium, "ada");
  bob = await stage.person(stage.chromium, "bob");
});

after(() => stage?.close());

/** Looks at the picture until `done`; tells the longest time without a new frame. */
function watchFreezes(person, identity) {
  let [frames, since, longest, running] = [0, Date.now(), 0, true];
  const look = (async () => {
    while (running) {
      const video = await person.do("video", { identity });
      if (video.frames > frames) [frames, since] = [video.frames, Date.now()];
      longest = Math.max(longest, Date.now() - since);
      await new Promise((resolve) => setTimeout(resolve, SAMPLE_MS));
    }
  })();
  return async () => {
    running = false;
    await look;
    return longest;
  };
}

for (const codec of ["vp9", "av1"]) {
  test(`${codec}: a subscriber of a layered stream gets the small picture, then the full one, without a freeze`, async () => {
    const room = freshRoom(`svc-${codec}`);
    await ada.join(room);
    await bob.join(room);
    await ada.publish({ codec, ...FULL });
    await bob.watches(ada, FULL);
    assert.equal((await bob.trackOf("ada", "camera")).mimeType.toLowerCase(), `video/${codec}`);
    const longestFreeze = watchFreezes(bob, "ada");
    for (const [quality, size] of [["LOW", LOW], ["HIGH", FULL], ["LOW", LOW], ["HIGH", FULL]]) {
      await bob.do("setQuality", { identity: "ada", quality });
      await bob.watches(ada, size);
    }
    assert.ok((await longestFreeze()) < LONGEST_FREEZE_MS, `frozen for ${await longestFreeze()} ms`);
    const video = await until("statistics", () => bob.do("video", { identity: "ada" }), (video) => video.frames > 0);
    assert.equal(video.lost ?? 0, 0, "withheld layers look like packet loss to the subscriber");
    await Promise.all([ada.do("leave"), bob.do("leave")]);
  });
}

test("h264: a subscriber of simulcast gets the small layer, then the full one", async () => {
  const small = { width: 320, height: 180 };
  const room = freshRoom("simulcast-h264");
  await ada.join(room);
  await bob.join(room);
  await ada.publish({ codec: "h264", simulcast: true, layers: [[small.width, small.height, 150_000]], ...FULL });
  await bob.watches(ada, FULL);
  for (const [quality, size] of [["LOW", small], ["HIGH", FULL]]) {
    await bob.do("setQuality", { identity: "ada", quality });
    await bob.watches(ada, size);
  }
  await Promise.all([ada.do("leave"), bob.do("leave")]);
});
