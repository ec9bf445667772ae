// Sound with redundancy (RED): Chromium sends and takes it, Firefox does not know it, and all hear each other.

import { after, before, test } from "node:test";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

// Statistics name Opus in any case; what is sent twice is seen by its size.
const TWICE = 1.6;
const ONCE = 1.25;

let stage;
let [ada, bob, fay] = [];

before(async () => {
  stage = await openStage("redundancy", { firefox: true });
  ada = await stage.person(stage.chromium, "ada");
  bob = await stage.person(stage.chromium, "bob");
  fay = await stage.person(stage.firefox, "fay");
});

after(() => stage?.close());

/** Sizes of ada's packets: as she sends them, and as they arrive at the others. */
async function sizes() {
  const [own, atBob, atFay] = await Promise.all([ada, bob, fay].map((person) => person.do("soundPackets", { identity: "ada" })));
  return { sent: own.sent, bob: atBob.heard, fay: atFay.heard };
}

for (const [version, single] of [["v0", false], ["v1", true]]) {
  for (const red of [true, false]) {
    test(`${version}: ${red ? "redundant sound reaches who knows it, and others without" : "who wants no redundancy sends none"}`, async () => {
      const room = freshRoom(`red-${version}`);
      await Promise.all([ada, bob, fay].map((person) => person.join(room, { single })));
      await ada.publish({ red });
      await fay.publish();
      await bob.hears(ada);
      await fay.hears(ada);
      await ada.hears(fay);
      // What was sent before the answer came was without.
      const fits = ({ sent, bob, fay }) => fay > 0 && [sent / fay, bob / fay].every((factor) => (red ? factor > TWICE : factor > 0 && factor < ONCE));
      await until(`sound to arrive ${red ? "twice at who knows it" : "once at everybody"}`, sizes, fits);
      await Promise.all([ada, bob, fay].map((person) => person.do("leave")));
    });
  }
}
