// Publishing by WHIP and playing by WHEP, with plain peer connections, beside the stock client.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TrackSource } from "@livekit/protocol";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";
import { WhipPage } from "../lib/whip.mjs";

const LOW = { width: 320, height: 180 };

let stage;
let bob;

before(async () => {
  stage = await openStage("whip", { firefox: true });
  bob = await stage.person(stage.chromium, "bob");
});

after(() => stage?.close());

const page = (browser, identity) => WhipPage.open(stage, browser, identity);
const gone = (person, identity) => until(`${identity} to be gone`, () => person.sees(identity).then((seen) => seen === undefined));

for (const browser of ["chromium", "firefox"]) {
  test(`who publishes by WHIP from ${browser} is seen and heard like anybody, until DELETE`, async () => {
    const identity = browser === "firefox" ? "fay" : "ada";
    const ada = await page(stage[browser], identity);
    const room = freshRoom("whip");
    await bob.join(room);
    await ada.whip(room);
    await bob.watches(ada);
    await bob.hears(ada);
    const { mimeType } = await bob.trackOf(identity, "camera");
    assert.match(mimeType, /^video\/(vp8|h264)$/);
    const { patches } = await until("a candidate to be sent by PATCH", () => ada.do("state"), (state) => state.patches.length > 0);
    assert.deepEqual([...new Set(patches)], [204]);
    assert.equal(await ada.do("end"), 200);
    await gone(bob, identity);
    assert.equal(await ada.do("end"), 404);
    await bob.do("leave");
    await ada.close();
  });
}

test("a WHIP publisher in layers: the stock client chooses among them", async () => {
  const ada = await page(stage.chromium, "ada");
  const room = freshRoom("whip-layers");
  await bob.join(room);
  await ada.whip(room, { layers: true, codec: "video/VP8" });
  await until("two layers to be sent", () => ada.do("sent"), (sent) => sent.length === 2 && sent.every(({ frames }) => frames > 10));
  await bob.watches(ada);
  await bob.do("setQuality", { identity: "ada", quality: "LOW" });
  await bob.watches(ada, LOW);
  await bob.do("setQuality", { identity: "ada", quality: "HIGH" });
  await bob.watches(ada);
  await ada.do("end");
  await bob.do("leave");
  await ada.close();
});

test("ICE is restarted by PATCH, and the picture goes on", async () => {
  const ada = await page(stage.chromium, "ada");
  const room = freshRoom("whip-restart");
  await bob.join(room);
  await ada.whip(room);
  await bob.watches(ada);
  const before = await ada.do("pair");
  const restarted = await ada.do("restart");
  assert.notEqual(restarted.ufrag, before.ufrag);
  assert.equal(restarted.late, 412, "a PATCH of before the restart");
  await until("checks with the new credentials to be answered", () => ada.do("pair"), (pair) => pair.ufrag === restarted.ufrag && pair.responses > 0);
  await bob.watches(ada);
  await bob.hears(ada);
  assert.equal(await ada.do("end"), 200);
  await bob.do("leave");
  await ada.close();
});

test("a WHIP publisher that vanishes is gone from the room, and so is its session", async () => {
  const ada = await page(stage.chromium, "ada");
  const room = freshRoom("whip-vanishes");
  await bob.join(room);
  await ada.whip(room);
  await bob.watches(ada);
  await ada.do("close");
  await gone(bob, "ada");
  assert.equal(await ada.do("end"), 404);
  await bob.do("leave");
  await ada.close();
});

for (const browser of ["chromium", "firefox"]) {
  test(`a WHEP player in ${browser} sees and hears who publishes already, and another who takes over`, async () => {
    const pia = await page(stage[browser], "pia");
    const room = freshRoom("whep");
    await bob.join(room);
    await bob.publish();
    const { streams } = await pia.whep(room);
    assert.equal(streams, 1, "picture and sound in one stream");
    await pia.watches(bob);
    await pia.hears(bob);
    const ada = await page(stage.chromium, "ada");
    await ada.whip(room);
    await bob.watches(ada);
    await bob.do("leave");
    await pia.watches(ada);
    await pia.hears(ada);
    assert.equal(await pia.do("end"), 200);
    await ada.do("end");
    await Promise.all([pia.close(), ada.close()]);
  });
}

test("a WHEP player waits in an empty room for somebody who comes by WHIP", async () => {
  const pia = await page(stage.chromium, "pia");
  const ada = await page(stage.chromium, "ada");
  const room = freshRoom("whep-waits");
  await pia.whep(room);
  await until("the player to be connected", () => pia.do("state"), ({ connection }) => connection === "connected");
  await ada.whip(room, { codec: "video/H264" });
  await pia.watches(ada);
  await pia.hears(ada);
  await Promise.all([pia.do("end"), ada.do("end")]);
  await Promise.all([pia.close(), ada.close()]);
});

test("a WHEP player is told of layers, chooses among them, pauses and goes on", async () => {
  const pia = await page(stage.chromium, "pia");
  const ada = await page(stage.chromium, "ada");
  const room = freshRoom("whep-layers");
  await pia.whep(room);
  assert.equal(await pia.do("listen"), 201);
  await ada.whip(room, { layers: true, codec: "video/VP8" });
  await pia.watches(ada);
  const events = await until("the layers to be told", () => pia.do("events"), (all) => all.some(({ name }) => name === "layers"));
  assert.equal(events[0].name, "active");
  const [layers] = Object.values(events.find(({ name }) => name === "layers").data);
  assert.equal(layers.length, 2);
  assert.equal(await pia.do("choose", { rid: layers.at(-1).rid }), 200);
  await pia.watches(ada, LOW);
  assert.equal(await pia.do("choose", {}), 200);
  await pia.watches(ada);
  assert.equal(await pia.do("choose", { paused: true }), 200);
  await until("the picture to stand still", async () => {
    const before = await pia.do("video");
    await new Promise((resolve) => setTimeout(resolve, 500));
    return (await pia.do("video")).frames - before.frames;
  }, (frames) => frames === 0);
  assert.equal(await pia.do("choose", { paused: false }), 200);
  await pia.watches(ada);
  assert.equal(await pia.do("choose", { rid: "nobody" }), 422);
  await ada.do("end");
  await until("the end to be told", () => pia.do("events"), (all) => all.some(({ name }) => name === "inactive"));
  await Promise.all([pia.close(), ada.close()]);
});

test("tokens decide about WHIP and WHEP as about any join", async () => {
  const ada = await page(stage.chromium, "ada");
  const room = freshRoom("whip-refused");
  await assert.rejects(ada.whip(room, { grants: { canPublish: false } }), /403: .*canPublish/);
  await assert.rejects(ada.whip(room, { grants: { canPublishSources: [TrackSource.MICROPHONE] } }), /403: .*video/);
  await assert.rejects(ada.whip(room, { grants: { roomJoin: false } }), /403: .*roomJoin/);
  assert.equal((await stage.server.api.listParticipants(room).catch(() => [])).length, 0, "nobody stays behind");
  await ada.close();
});
