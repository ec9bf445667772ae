// Clients whose signal connection or whose media path breaks, and comes back: nobody else notices, and nothing is lost.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { LOOKS } from "../lib/person.mjs";
import { preparePython, startPython } from "../lib/python.mjs";
import { concealment, longestStall } from "../lib/record.mjs";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const GOOD = { down: "delay=10ms", up: "delay=10ms" };
const PYTHON = { identity: "pia", look: LOOKS.pia };

let stage;

before(async () => {
  await preparePython();
  // A link leads to one port, and each worker has its own.
  stage = await openStage("resume", { firefox: true, workers: 1 });
});

after(() => stage?.close());

const pass = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function eventsOf(person, kind) {
  return (await person.do("events")).filter((event) => event.kind === kind);
}

/** Nobody saw the other go or come. */
async function sawNothing(person) {
  for (const kind of ["left", "joined", "trackUnsubscribed"]) assert.deepEqual(await eventsOf(person, kind), [], `${person.identity} saw ${kind}`);
}

/** Ada, whose signal connection goes over a relay, and Bob publish and see each other; then `during` runs. */
async function call(single, { browser = stage.chromium, identity = "ada", link }, during) {
  const relay = await stage.relay();
  const ada = await stage.person(browser, identity, link);
  const bob = await stage.person(stage.chromium, "bob");
  const room = freshRoom("resume");
  try {
    await bob.join(room, { single });
    const { sid } = await ada.join(room, { single, socketUrl: relay.socketUrl });
    await Promise.all([ada.publish(), bob.publish()]);
    await Promise.all([ada.watches(bob), bob.watches(ada), ada.hears(bob), bob.hears(ada)]);
    await Promise.all([ada, bob].map((person) => person.do("forgetEvents")));
    await during({ ada, bob, relay, room, sid });
    assert.ok(stage.server.alive, stage.server.tail);
  } finally {
    await Promise.all([ada.close(), bob.close()]);
    await relay.stop();
  }
}

async function resumed(person, relay) {
  await person.notices({ kind: "signalReconnecting" });
  relay?.mend();
  await person.notices({ kind: "reconnected" });
  assert.deepEqual(await eventsOf(person, "reconnecting"), [], `${person.identity} joined anew`);
}

for (const [version, single] of [["v0", false], ["v1", true]]) {
  describe(version, () => {
    test(`${version}: a cut signal connection is resumed: media goes on, the others notice nothing, and what happened meanwhile is told`, async (t) => {
      await call(single, {}, async ({ ada, bob, relay, room, sid }) => {
        await bob.do("startRecording", { identity: "ada" });
        const cut = Date.now();
        relay.cut();
        await ada.notices({ kind: "signalReconnecting" });
        await bob.do("setMuted", { source: "microphone", muted: true });
        const cid = await stage.person(stage.chromium, "fay");
        try {
          await cid.join(room, { single });
          await cid.publish();
          await bob.do("send", { text: "while you were away", reliable: true, topic: "late" });
          await ada.receives({ text: "while you were away", topic: "late" });
          await resumed(ada, relay);
          const record = await bob.do("recorded");
          const ended = Date.now();
          assert.equal((await bob.sees("ada")).sid, sid, "the same session");
          assert.deepEqual(await eventsOf(bob, "left"), []);
          await ada.notices({ kind: "muted", who: "bob", source: "microphone" });
          await ada.watches(cid);
          await cid.watches(ada);
          const [stall, made] = [longestStall(record, cut, ended), concealment(record, [cut, ended])];
          t.diagnostic(`without signal connection for ${ended - cut} ms: longest time without a picture ${stall} ms, ${(made * 100).toFixed(2)} % of the sound made up`);
          assert.ok(stall < 1_500 && made < 0.1, `no picture for ${stall} ms, ${made} of the sound made up`);
        } finally {
          await cid.close();
        }
        await bob.do("setMuted", { source: "microphone", muted: false });
        await Promise.all([ada.watches(bob), bob.watches(ada), ada.hears(bob), bob.hears(ada)]);
        await ada.do("send", { text: "back", reliable: true });
        await bob.receives({ text: "back", from: "ada" });
      });
    });

    test(`${version}: a signal connection that is cut again and again is resumed each time`, async () => {
      await call(single, {}, async ({ ada, bob, relay }) => {
        for (let round = 0; round < 3; round++) {
          await ada.do("forgetEvents");
          relay.cut();
          await resumed(ada, relay);
        }
        await sawNothing(bob);
        await Promise.all([ada.watches(bob), bob.watches(ada), ada.hears(bob), bob.hears(ada)]);
      });
    });

    test(`${version}: a tab that resumes publishes and subscribes as before`, async () => {
      await call(single, {}, async ({ ada, bob, relay }) => {
        relay.cut();
        await resumed(ada, relay);
        await ada.do("unpublish", { source: "camera" });
        await bob.notices({ kind: "trackUnsubscribed", who: "ada", source: "camera" });
        await ada.do("shareCanvas", { colour: "#a014a0" });
        await bob.watches(ada, { source: "screen_share", rgb: [160, 20, 160] });
        await bob.do("shareCanvas", { colour: "#14a0a0" });
        await ada.watches(bob, { source: "screen_share", rgb: [20, 160, 160] });
      });
    });

    test(`${version}: a migration is a resume`, async () => {
      await call(single, {}, async ({ ada, bob, sid }) => {
        await ada.do("simulate", { scenario: "migration" });
        await ada.notices({ kind: "reconnected" });
        assert.deepEqual(await eventsOf(ada, "reconnecting"), []);
        assert.equal((await bob.sees("ada")).sid, sid);
        await sawNothing(bob);
        await Promise.all([ada.watches(bob), bob.watches(ada), ada.hears(bob), bob.hears(ada)]);
      });
    });

    for (const scenario of ["full-reconnect", "leave-full-reconnect", "node-failure"]) {
      test(`${version}: ${scenario}: the client joins anew, and all see and hear each other again`, async () => {
        await call(single, {}, async ({ ada, bob, sid }) => {
          await ada.do("simulate", { scenario });
          await ada.notices({ kind: "reconnected" });
          await until("bob to know ada's new session", () => bob.sees("ada"), (person) => person !== undefined && person.sid !== sid);
          await Promise.all([ada.watches(bob), bob.watches(ada), ada.hears(bob), bob.hears(ada)]);
          if (scenario === "full-reconnect") assert.deepEqual(await eventsOf(bob, "left"), [], "bob saw ada go");
        });
      });
    }

    test(`${version}: a server's leave ends the session`, async () => {
      await call(single, {}, async ({ ada, bob }) => {
        await ada.do("simulate", { scenario: "server-leave" });
        await ada.notices({ kind: "disconnected", reason: "SERVER_SHUTDOWN" });
        await bob.notices({ kind: "left", who: "ada" });
      });
    });

    test(`${version}: media that is cut off for 8 s comes back, with what was said meanwhile`, async () => {
      const link = await stage.link(GOOD);
      await call(single, { link }, async ({ ada, bob, sid }) => {
        link.change("down loss=100%");
        link.change("up loss=100%");
        await pass(1_000);
        await bob.do("send", { text: "into the dark", reliable: true });
        await pass(7_000);
        link.change("down loss=0%");
        link.change("up loss=0%");
        await ada.receives({ text: "into the dark", from: "bob" });
        await Promise.all([ada.watches(bob), bob.watches(ada), ada.hears(bob), bob.hears(ada)]);
        assert.equal((await bob.sees("ada")).sid, sid, "the same session");
        assert.deepEqual(await eventsOf(bob, "left"), []);
      });
      await link.stop();
    });
  });
}

test("Firefox resumes too", async () => {
  await call(true, { browser: stage.firefox, identity: "fay" }, async ({ ada: fay, bob, relay, sid }) => {
    relay.cut();
    await resumed(fay, relay);
    assert.equal((await bob.sees("fay")).sid, sid);
    await sawNothing(bob);
    await Promise.all([fay.watches(bob), bob.watches(fay), fay.hears(bob), bob.hears(fay)]);
  });
});

test("Python: the native SDK resumes", async () => {
  const relay = await stage.relay();
  const ada = await stage.person(stage.chromium, "ada");
  const room = freshRoom("resume");
  const token = await stage.server.token(room, PYTHON.identity);
  const python = startPython({ url: relay.socketUrl, token, tone: PYTHON.look.tone, colour: PYTHON.look.rgb });
  try {
    await ada.join(room);
    await ada.publish();
    await ada.watches(PYTHON, { width: 320, height: 180 });
    const { sid } = await ada.sees("pia");
    await ada.do("forgetEvents");
    // It tries to resume once, and joins anew if that fails.
    relay.cut();
    relay.mend();
    await python.sees("that it has reconnected", ({ states }) => states.at(-1) === "reconnected");
    assert.equal((await ada.sees("pia")).sid, sid, "the same session");
    await sawNothing(ada);
    python.say("back again");
    await ada.receives({ text: "back again", from: "pia" });
    await ada.watches(PYTHON, { width: 320, height: 180 });
    await ada.hears(PYTHON);
  } finally {
    await python.stop();
    await ada.close();
    await relay.stop();
  }
});
