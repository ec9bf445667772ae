// A publisher with layers, and a subscriber who chooses among them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const FULL = { width: 640, height: 360 };
const LOW = { width: 320, height: 180 };
const LAYERS = [[LOW.width, LOW.height, 150_000]];

let stage;
let [ada, bob] = [];

before(async () => {
  stage = await openStage("simulcast", { firefox: true });
  ada = await stage.person(stage.chromium, "ada");
  bob = await stage.person(stage.chromium, "bob");
});

after(() => stage?.close());

/** All layers of the publisher are being encoded; on a busy machine the upper one starts late. */
function layersRun(publisher) {
  return until(`${publisher.identity} to encode two layers`, () => publisher.do("sent"), (layers) => layers.length === 2 && layers.every(({ frames }) => frames > 10));
}

for (const [version, single] of [["v0", false], ["v1", true]]) {
  test(`${version}: a subscriber gets the small layer, then the full one, and stays in sync`, async () => {
    const room = freshRoom(`layers-${version}`);
    await ada.join(room, { single });
    await bob.join(room, { single });
    await ada.publish({ simulcast: true, layers: LAYERS });
    await layersRun(ada);
    await bob.watches(ada, FULL);
    assert.equal((await bob.trackOf("ada", "camera")).simulcasted, true);

    await bob.do("setQuality", { identity: "ada", quality: "LOW" });
    await bob.watches(ada, LOW);
    await bob.inSync(ada);
    await bob.do("setQuality", { identity: "ada", quality: "HIGH" });
    const video = await bob.watches(ada, FULL);
    await bob.inSync(ada);
    await bob.hears(ada);
    assert.equal(video.lost ?? 0, 0, "switching layers looks like packet loss to the subscriber");
    await Promise.all([ada.do("leave"), bob.do("leave")]);
  });
}

test("many switches in a row never break the picture", async () => {
  const room = freshRoom("switching");
  await ada.join(room);
  await bob.join(room);
  await ada.publish({ simulcast: true, layers: LAYERS });
  await layersRun(ada);
  for (let round = 0; round < 5; round++) {
    for (const [quality, size] of [["LOW", LOW], ["HIGH", FULL]]) {
      await bob.do("setQuality", { identity: "ada", quality });
      await bob.watches(ada, size);
    }
  }
  await Promise.all([ada.do("leave"), bob.do("leave")]);
});

test("layers from Firefox are forwarded to Chromium", async () => {
  const fay = await stage.person(stage.firefox, "fay");
  const room = freshRoom("firefox-layers");
  await fay.join(room);
  await bob.join(room);
  await fay.publish({ simulcast: true, layers: LAYERS });
  await bob.watches(fay, FULL);
  await bob.do("setQuality", { identity: "fay", quality: "LOW" });
  await bob.watches(fay, LOW);
  await bob.do("setQuality", { identity: "fay", quality: "HIGH" });
  await bob.watches(fay, FULL);
  await Promise.all([fay.do("leave"), bob.do("leave")]);
});
