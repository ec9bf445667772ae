// Two Chromiums and a Firefox in one room with the stock client: once over two connections (`/rtc`), once over one (`/rtc/v1`).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

let stage;
let [ada, bob, fay] = [];

before(async () => {
  stage = await openStage("calls", { firefox: true, chromiumArgs: ["--auto-select-desktop-capture-source=Entire screen"] });
  ada = await stage.person(stage.chromium, "ada");
  bob = await stage.person(stage.chromium, "bob");
  fay = await stage.person(stage.firefox, "fay");
});

after(() => stage?.close());

/** Runs `check(one, other)` for each ordered pair of people, all at once. */
function everyPair(people, check) {
  return Promise.all(people.flatMap((one) => people.filter((other) => other !== one).map((other) => check(one, other))));
}

for (const [version, single, path] of [["v0", false, "/rtc"], ["v1", true, "/rtc/v1"]]) {
  describe(version, () => {
    const room = freshRoom(`call-${version}`);
    const everyone = () => [ada, bob, fay];

    after(() => Promise.all(everyone().map((person) => person.do("leave").catch(() => undefined))));

    test(`${version}: three people join over ${path}`, async () => {
      for (const person of everyone()) {
        const { paths } = await person.join(room, { single });
        assert.deepEqual(paths, [path], `${person.identity} fell back to another path`);
      }
      await everyPair(everyone(), (one, other) => until(`${one.identity} to list ${other.identity}`, () => one.sees(other.identity)));
    });

    test(`${version}: everyone sees and hears everyone`, async () => {
      for (const person of everyone()) await person.publish();
      await everyPair(everyone(), (one, other) => one.watches(other));
      await everyPair(everyone(), (one, other) => one.hears(other));
    });

    test(`${version}: sound and picture arrive together`, async () => {
      await bob.inSync(ada);
      await ada.inSync(bob);
    });

    test(`${version}: who makes a sound is announced as speaking`, async () => {
      await until("ada to be told that bob speaks", () => ada.sees("bob"), (person) => person?.speaking === true);
    });

    test(`${version}: connection quality is reported as good while it is`, async () => {
      await until("bob to be told ada's quality", () => bob.sees("ada"), (person) => ["excellent", "good"].includes(person?.quality));
    });

    test(`${version}: a muted microphone is silent, and sounds again`, async () => {
      await ada.do("setMuted", { source: "microphone", muted: true });
      for (const other of [bob, fay]) await other.notices({ kind: "muted", who: "ada", source: "microphone" });
      await Promise.all([bob, fay].map((other) => other.hearsNothingFrom(ada)));
      await ada.do("setMuted", { source: "microphone", muted: false });
      await Promise.all([bob, fay].map((other) => other.hears(ada)));
    });

    test(`${version}: a camera that is off freezes nothing, and comes back`, async () => {
      await fay.do("setMuted", { source: "camera", muted: true });
      await ada.notices({ kind: "muted", who: "fay", source: "camera" });
      const stood = await ada.do("video", { identity: "fay" });
      await bob.watches(ada);
      await fay.do("setMuted", { source: "camera", muted: false });
      await ada.notices({ kind: "unmuted", who: "fay", source: "camera" });
      const back = await ada.watches(fay);
      assert.ok(back.frames > stood.frames);
    });

    test(`${version}: a shared screen appears and goes`, async () => {
      await bob.do("shareScreen");
      for (const other of [ada, fay]) {
        await until(`${other.identity} to decode bob's screen`, () => other.do("video", { identity: "bob", source: "screen_share" }), ({ frames }) => frames > 0);
      }
      await ada.watches(bob);
      await bob.do("stopScreen");
      for (const other of [ada, fay]) {
        await other.notices({ kind: "trackUnsubscribed", who: "bob", source: "screen_share" });
        await until("the screen to be gone", () => other.trackOf("bob", "screen_share"), (track) => track === undefined);
      }
    });

    test(`${version}: a screen shared from Firefox appears`, async () => {
      await fay.do("shareCanvas", { colour: "#a014a0" });
      await Promise.all([ada, bob].map((other) => other.watches(fay, { source: "screen_share", rgb: [160, 20, 160] })));
      await fay.do("unpublish", { source: "screen_share" });
      await ada.notices({ kind: "trackUnsubscribed", who: "fay", source: "screen_share" });
    });

    test(`${version}: data goes both ways, reliable and lossy`, async () => {
      for (const [from, to] of [[ada, bob], [bob, ada], [ada, fay], [fay, ada]]) {
        for (const reliable of [true, false]) {
          const text = `${from.identity} to ${to.identity}, ${reliable}`;
          await from.do("send", { text, reliable, topic: "greeting", to: [to.identity] });
          await to.receives({ text, from: from.identity, topic: "greeting", reliable });
        }
      }
      await ada.do("send", { text: "for all", reliable: true });
      await Promise.all([bob, fay].map((other) => other.receives({ text: "for all", from: "ada" })));
      assert.ok(!(await bob.do("messages")).some(({ text }) => text.includes("to fay")), "bob read a message for fay");
    });

    test(`${version}: a reliable message of 60 kB arrives whole`, async () => {
      await fay.do("send", { bytes: 60_000, reliable: true, topic: "big" });
      await Promise.all([ada, bob].map((other) => other.receives({ text: "60000 bytes", from: "fay", topic: "big" })));
    });

    test(`${version}: who leaves is gone, and is seen and heard again after coming back`, async () => {
      await bob.do("leave");
      await Promise.all([ada, fay].map((other) => other.notices({ kind: "left", who: "bob" })));
      await until("bob to be off ada's list", () => ada.sees("bob"), (person) => person === undefined);
      await bob.join(room, { single });
      await Promise.all([bob.watches(ada), bob.watches(fay), bob.hears(ada), bob.hears(fay)]);
      await bob.publish();
      await Promise.all([ada, fay].map((other) => other.watches(bob)));
      await Promise.all([ada, fay].map((other) => other.hears(bob)));
    });

    test(`${version}: a second person with the same identity replaces the first`, async () => {
      const twin = await stage.person(stage.chromium, "bob");
      try {
        const { sid } = await twin.join(room, { single });
        await bob.notices({ kind: "disconnected", reason: "DUPLICATE_IDENTITY" });
        await until("ada to know the new bob", () => ada.sees("bob"), (person) => person?.sid === sid);
        await twin.publish();
        await Promise.all([ada.watches(twin), ada.hears(twin), fay.watches(twin)]);
        assert.equal((await ada.do("people")).filter(({ identity }) => identity === "bob").length, 1);
      } finally {
        await twin.do("leave");
        await twin.close();
      }
    });

    test(`${version}: nobody had to reconnect, and the server lives`, async () => {
      for (const person of [ada, fay]) {
        assert.deepEqual((await person.do("events")).filter(({ kind }) => kind === "reconnecting"), [], `${person.identity} reconnected`);
      }
      assert.ok(stage.server.alive, stage.server.tail);
    });
  });
}

test("both versions meet in one room", async () => {
  const room = freshRoom("mixed");
  await ada.join(room, { single: false });
  await fay.join(room, { single: true });
  await Promise.all([ada.publish(), fay.publish()]);
  await Promise.all([ada.watches(fay), fay.watches(ada), ada.hears(fay), fay.hears(ada)]);
  await Promise.all([ada.do("leave"), fay.do("leave")]);
});
