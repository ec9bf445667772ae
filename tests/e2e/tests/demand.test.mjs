// What subscribers ask for decides what publishers send, and what they look at decides what they ask for.

import { after, before, test } from "node:test";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { pause, until } from "../lib/until.mjs";

// Chromium encodes three layers from this size on.
const FULL = { width: 960, height: 540 };
const MIDDLE = { width: 480, height: 270 };
const LOW = { width: 240, height: 135 };
const LAYERS = { simulcast: true, ...FULL, layers: [[LOW.width, LOW.height, 120_000], [MIDDLE.width, MIDDLE.height, 300_000]] };
const ALL = ["q", "h", "f"];
// Between two looks at what flows: the slowest layer has some frames in it, also on a busy machine.
const WINDOW_MS = 1_500;

let stage;
let [ada, bob, pia] = [];

before(async () => {
  stage = await openStage("demand");
  ada = await stage.person(stage.chromium, "ada");
  bob = await stage.person(stage.chromium, "bob");
  pia = await stage.person(stage.chromium, "pia");
});

after(() => stage?.close());

/** Which layers the publisher encoded frames of within the window. */
async function encoded(publisher) {
  const before = await publisher.do("sent");
  await pause(WINDOW_MS);
  const after = await publisher.do("sent");
  const grew = ({ rid, frames }) => frames > (before.find((layer) => layer.rid === rid)?.frames ?? 0);
  return after.filter(grew).map(({ rid }) => rid);
}

function sends(publisher, rids) {
  const wanted = [...rids].sort().join();
  return until(`${publisher.identity} to send ${wanted || "nothing"}`, () => encoded(publisher), (seen) => [...seen].sort().join() === wanted);
}

/** Whether frames of the other's picture arrived within the window. */
async function moves(person, other) {
  const before = await person.do("video", { identity: other.identity });
  await pause(WINDOW_MS);
  const after = await person.do("video", { identity: other.identity });
  return after.frames > before.frames;
}

async function leave(...people) {
  await Promise.all(people.map((person) => person.do("leave")));
}

test("a publisher sends the layers that its subscribers ask for, and no others", async () => {
  const room = freshRoom("dynacast");
  await ada.join(room, { options: { dynacast: true } });
  await bob.join(room);
  await ada.publish(LAYERS);
  await sends(ada, ALL);
  await bob.watches(ada, FULL);

  await bob.do("setQuality", { identity: "ada", quality: "LOW" });
  await bob.watches(ada, LOW);
  await sends(ada, ["q"]);
  await bob.do("setQuality", { identity: "ada", quality: "MEDIUM" });
  await bob.watches(ada, MIDDLE);
  await sends(ada, ["q", "h"]);

  await bob.do("setEnabled", { identity: "ada", enabled: false });
  await sends(ada, []);
  await pia.join(room);
  await pia.watches(ada, FULL);
  await sends(ada, ALL);
  await leave(pia);
  await sends(ada, []);
  await bob.do("setQuality", { identity: "ada", quality: "HIGH" });
  await bob.do("setEnabled", { identity: "ada", enabled: true });
  await bob.watches(ada, FULL);
  await leave(ada, bob);
});

test("a publisher of a layered stream stops it when nobody looks, and starts it again", async () => {
  const room = freshRoom("dynacast-svc");
  // Over the older version of the protocol, with two connections.
  await ada.join(room, { single: false, options: { dynacast: true } });
  await bob.join(room, { single: false });
  await ada.publish({ codec: "vp9", width: 640, height: 360 });
  await bob.watches(ada);
  await bob.do("setEnabled", { identity: "ada", enabled: false });
  await until("ada to send nothing", () => encoded(ada), (seen) => seen.length === 0);
  await bob.do("setEnabled", { identity: "ada", enabled: true });
  await until("the picture to move again", () => moves(bob, ada));
  await bob.watches(ada);
  await leave(ada, bob);
});

for (const [version, single] of [["v0", false], ["v1", true]]) {
  test(`${version}: a picture arrives in the size in which it is shown, and not at all while it is hidden`, async () => {
    const room = freshRoom(`adaptive-${version}`);
    await ada.join(room, { single });
    await ada.publish(LAYERS);
    await sends(ada, ALL);
    await bob.join(room, { single, options: { adaptiveStream: { pixelDensity: 1 } } });
    await until("bob to show ada's picture", () => bob.do("video", { identity: "ada" }), (video) => video.frames > 0);

    for (const [shown, sent] of [[{ width: 200, height: 112 }, LOW], [FULL, FULL], [{ width: 400, height: 225 }, MIDDLE]]) {
      await bob.do("resize", { identity: "ada", ...shown });
      await bob.watches(ada, sent);
    }
    await bob.do("resize", { identity: "ada" });
    await until("the hidden picture to stop", () => moves(bob, ada), (moving) => !moving);
    await bob.do("resize", { identity: "ada", ...FULL });
    await bob.watches(ada, FULL);
    await leave(ada, bob);
  });
}
