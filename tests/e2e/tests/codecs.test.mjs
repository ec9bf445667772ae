// Every codec from browser to browser; a second codec for who cannot decode the first; encrypted rooms; two channels.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const SIZE = { width: 640, height: 360 };
const LOW = { width: 320, height: 180 };
const TONE_TOLERANCE_HZ = 8;
/** As the client numbers them. */
const POLICY = { SIMULCAST: 1, REGRESSION: 2 };
/** One worker: both encodings and all viewers on it; several: they cross. */
const WORKERS = 2;

let stage;
let [ada, bob, pia, fay] = [];

before(async () => {
  stage = await openStage("codecs", { firefox: true, workers: WORKERS });
  ada = await stage.person(stage.chromium, "ada");
  bob = await stage.person(stage.chromium, "bob");
  // An older viewer: pia's browser knows neither VP9 nor AV1.
  pia = await stage.person(stage.chromium, "pia");
  await pia.do("hideCodecs", { names: ["VP9", "AV1"] });
  fay = await stage.person(stage.firefox, "fay");
});

after(() => stage?.close());

const leave = (...people) => Promise.all(people.map((person) => person.do("leave")));

/** Waits until ada encodes this codec, or does not. */
function encodes(codec, active) {
  const is = (each) => each.some((encoder) => encoder.codec?.toLowerCase() === codec && encoder.active && encoder.frames > 0);
  return until(`ada ${active ? "to send" : "to stop"} ${codec}`, () => ada.do("encoders"), (each) => is(each) === active);
}

for (const [version, single] of [["v0", false], ["v1", true]]) {
  for (const codec of ["vp8", "h264", "vp9", "av1"]) {
    test(`${version}: ${codec} and Opus from Chromium to Chromium`, async () => {
      const room = freshRoom(`codec-${version}-${codec}`);
      await ada.join(room, { single });
      await bob.join(room, { single });
      await ada.publish({ codec, ...SIZE });
      await bob.watches(ada, SIZE);
      await bob.decodes(ada, `video/${codec}`);
      await bob.hears(ada);
      assert.equal((await bob.trackOf("ada", "camera")).mimeType, `video/${codec}`);
      await leave(ada, bob);
    });
  }
}

test("Firefox publishes VP8 and Opus", async () => {
  // The client publishes no other codec from it.
  const room = freshRoom("firefox-publishes");
  await ada.join(room);
  await fay.join(room);
  await fay.publish({ codec: "vp9", ...SIZE });
  await ada.watches(fay, SIZE);
  await ada.decodes(fay, "video/vp8");
  await ada.hears(fay);
  assert.equal((await ada.trackOf("fay", "camera")).mimeType, "video/vp8");
  await leave(ada, fay);
});

for (const codec of ["vp8", "vp9"]) {
  test(`${codec} and Opus from Chromium to Firefox`, async () => {
    const room = freshRoom(`firefox-${codec}`);
    await ada.join(room);
    await fay.join(room);
    await ada.publish({ codec, ...SIZE });
    await fay.watches(ada, SIZE);
    await fay.decodes(ada, `video/${codec}`);
    await fay.hears(ada);
    await leave(ada, fay);
  });
}

for (const codec of ["h264", "av1"]) {
  test(`${codec} from Chromium reaches Firefox, if need be in the second codec`, async () => {
    const room = freshRoom(`firefox-backup-${codec}`);
    await ada.join(room, { options: { dynacast: true } });
    await fay.join(room);
    await ada.publish({ codec, ...SIZE, video: { backupCodec: true } });
    await fay.watches(ada, SIZE);
    await leave(ada, fay);
  });
}

for (const [version, single] of [["v0", false], ["v1", true]]) {
  test(`${version}: a viewer without VP9 gets VP8 of its publisher, and the others keep VP9`, async () => {
    const room = freshRoom(`backup-${version}`);
    for (const person of [ada, bob, pia]) await person.join(room, { single, options: { dynacast: person === ada } });
    await ada.publish({ codec: "vp9", simulcast: true, layers: [[LOW.width, LOW.height, 150_000]], ...SIZE, video: { backupCodec: { codec: "vp8" }, backupCodecPolicy: POLICY.SIMULCAST } });
    await bob.watches(ada, SIZE);
    await pia.watches(ada, SIZE);
    await pia.decodes(ada, "video/vp8");
    await bob.decodes(ada, "video/vp9");
    await encodes("video/vp9", true);
    await encodes("video/vp8", true);
    for (const [quality, size] of [["LOW", LOW], ["HIGH", SIZE]]) {
      await pia.do("setQuality", { identity: "ada", quality });
      await pia.watches(ada, size);
      await bob.watches(ada, SIZE);
    }

    await ada.do("setMuted", { source: "camera", muted: true });
    for (const other of [bob, pia]) await other.notices({ kind: "muted", who: "ada", source: "camera" });
    await ada.do("setMuted", { source: "camera", muted: false });
    await Promise.all([bob, pia].map((other) => other.watches(ada, SIZE)));
    await ada.do("unpublish", { source: "camera" });
    for (const other of [bob, pia]) await other.notices({ kind: "trackUnsubscribed", who: "ada", source: "camera" });
    await leave(ada, bob, pia);
  });
}

test("with regression everybody goes over to the second codec, and the first is not encoded any more", async () => {
  const room = freshRoom("regression");
  await ada.join(room, { options: { dynacast: true } });
  await bob.join(room);
  await ada.publish({ codec: "vp9", ...SIZE, video: { backupCodec: { codec: "vp8" }, backupCodecPolicy: POLICY.REGRESSION } });
  await bob.watches(ada, SIZE);
  await bob.decodes(ada, "video/vp9");
  await pia.join(room);
  await pia.watches(ada, SIZE);
  await bob.decodes(ada, "video/vp8");
  await bob.watches(ada, SIZE);
  await encodes("video/vp9", false);
  await bob.inSync(ada);
  await leave(ada, bob, pia);
});

test("a viewer that can decode no codec of a track is told so, and gets the other tracks", async () => {
  const room = freshRoom("undecodable");
  await ada.join(room);
  await pia.join(room);
  await ada.publish({ codec: "vp9", ...SIZE, video: { backupCodec: false } });
  await pia.notices({ kind: "trackSubscriptionFailed", who: "ada", error: "CODEC_UNSUPPORTED" });
  await pia.hears(ada);
  assert.equal((await pia.trackOf("ada", "camera")).mimeType, "video/vp9", "it stays listed");
  await leave(ada, pia);
});

for (const [version, single] of [["v0", false], ["v1", true]]) {
  for (const codec of ["vp8", "h264", "vp9"]) {
    // The client encrypts no AV1.
    test(`${version}: encrypted ${codec} passes, and its layers are found without its key`, async () => {
      const room = freshRoom(`encrypted-${version}-${codec}`);
      for (const person of [ada, bob]) await person.join(room, { single, password: "a secret of the two" });
      await pia.join(room, { single, password: "another secret" });
      const simulcast = codec !== "vp9";
      await ada.publish({ codec, simulcast, ...(simulcast && { layers: [[LOW.width, LOW.height, 150_000]] }), ...SIZE });
      await bob.watches(ada, SIZE);
      await bob.hears(ada);
      for (const [quality, size] of [["LOW", LOW], ["HIGH", SIZE]]) {
        await bob.do("setQuality", { identity: "ada", quality });
        await bob.watches(ada, size);
      }
      assert.equal((await bob.trackOf("ada", "camera")).encrypted, true);
      assert.equal((await pia.do("video", { identity: "ada" })).frames, 0, "decoded without the key");
      await leave(ada, bob, pia);
    });
  }
}

for (const [version, single] of [["v0", false], ["v1", true]]) {
  test(`${version}: two channels stay two`, async () => {
    const room = freshRoom(`stereo-${version}`);
    await ada.join(room, { single });
    await bob.join(room, { single });
    await ada.publish({ stereo: true });
    const isNear = (tone, hz) => Math.abs(tone.hz - hz) <= TONE_TOLERANCE_HZ;
    const { tone } = ada.look;
    await until("a tone on the left and another on the right", () => bob.do("stereo", { identity: "ada" }), ([left, right]) => isNear(left, tone) && isNear(right, tone * 1.5));
    await leave(ada, bob);
  });
}
