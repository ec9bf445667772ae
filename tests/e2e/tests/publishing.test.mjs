// What happens to a publication: muted from the start, replaced, published again, forbidden, allowed again, kept from some.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { replacedIn, safariPage } from "../clients/safari.mjs";
import { LOOKS, Person } from "../lib/person.mjs";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const GREY = { colour: "#787878", rgb: [120, 120, 120] };
/** As the API numbers them. */
const MICROPHONE = 2;

let stage;
let [ada, bob, pia] = [];

before(async () => {
  stage = await openStage("publishing");
  ada = await stage.person(stage.chromium, "ada");
  bob = await stage.person(stage.chromium, "bob");
  pia = await stage.person(stage.chromium, "pia");
});

after(() => stage?.close());

const leave = (...people) => Promise.all(people.map((person) => person.do("leave")));
const permit = (room, person, permission) => stage.server.api.updateParticipant(room, person.identity, { permission });
const everything = { canPublish: true, canSubscribe: true, canPublishData: true };
const gone = (person, identity, source = "camera") => until(`${person.identity} not to know ${identity}'s ${source} any more`, () => person.trackOf(identity, source), (track) => track === undefined);

for (const [version, single] of [["v0", false], ["v1", true]]) {
  test(`${version}: a camera that starts muted is listed, and seen when it is opened`, async () => {
    const room = freshRoom(`muted-${version}`);
    await ada.join(room, { single });
    await bob.join(room, { single });
    await ada.do("publishMuted", { colour: ada.look.colour });
    await until("bob to know of a muted camera", () => bob.trackOf("ada", "camera"), (track) => track?.muted === true);
    assert.equal((await bob.do("video", { identity: "ada" })).frames, 0);
    await ada.do("setMuted", { source: "camera", muted: false });
    await bob.watches(ada);
    await leave(ada, bob);
  });

  test(`${version}: another picture in the same track is seen without a new subscription`, async () => {
    const room = freshRoom(`replaced-${version}`);
    await ada.join(room, { single });
    await bob.join(room, { single });
    await ada.publish();
    await bob.watches(ada);
    await ada.do("replaceCamera", { colour: GREY.colour });
    await bob.watches(ada, { rgb: GREY.rgb });
    const events = await bob.do("events");
    assert.equal(events.filter(({ kind, source }) => kind === "trackSubscribed" && source === "camera").length, 1);
    assert.ok(!events.some(({ kind }) => kind === "trackUnsubscribed"));
    await leave(ada, bob);
  });

  test(`${version}: in Safari a track that comes in the place of another has a section of its own`, async () => {
    const replaced = {};
    for (const honest of [false, true]) {
      const room = freshRoom(`sections-${version}`);
      const viewer = new Person(stage.server, await safariPage(stage, "chromium", { honest }), "bob");
      await viewer.join(room, { single });
      await ada.join(room, { single });
      for (let round = 0; round < 3; round++) {
        await ada.publish();
        await viewer.watches(ada);
        for (const source of ["camera", "microphone"]) await ada.do("unpublish", { source });
        await gone(viewer, "ada");
      }
      replaced[honest] = await replacedIn(viewer.page);
      await leave(ada, viewer);
      await viewer.close();
    }
    assert.deepEqual(replaced[false], []);
    assert.ok(replaced[true].length > 0, "other browsers use them again");
  });

  test(`${version}: a track that is published again and again is seen each time`, async () => {
    const room = freshRoom(`again-${version}`);
    await ada.join(room, { single });
    await bob.join(room, { single });
    await ada.publish();
    await bob.watches(ada);
    for (let round = 1; round <= 3; round++) {
      await ada.do("unpublish", { source: "camera", stop: false });
      await ada.do("publishAgain");
      await until(`subscription ${round}`, () => bob.do("events"), (events) => events.filter(({ kind, source }) => kind === "trackUnsubscribed" && source === "camera").length === round);
      await bob.watches(ada);
    }
    await bob.hears(ada);
    await leave(ada, bob);
  });

  test(`${version}: who may not publish any more is taken down, told when trying, and seen again when allowed`, async () => {
    const room = freshRoom(`revoked-${version}`);
    await ada.join(room, { single });
    await bob.join(room, { single });
    await ada.publish();
    await bob.watches(ada);
    await permit(room, ada, { ...everything, canPublish: false });
    await Promise.all([gone(bob, "ada"), gone(bob, "ada", "microphone")]);
    await until("ada to know", () => ada.do("me"), ({ canPublish, tracks }) => !canPublish && tracks.length === 0);
    const refused = await ada.do("tryToPublish", { colour: GREY.colour, source: "camera" });
    assert.match(refused.error ?? "published", /permission|not allowed/i);
    await permit(room, ada, everything);
    await until("ada to be allowed", () => ada.do("me"), ({ canPublish }) => canPublish);
    await ada.publish();
    await bob.watches(ada);
    await bob.hears(ada);
    await leave(ada, bob);
  });

  test(`${version}: who may use the microphone alone is refused a camera`, async () => {
    const room = freshRoom(`sources-${version}`);
    await ada.join(room, { single, grants: { canPublishSources: [MICROPHONE] } });
    await bob.join(room, { single });
    const camera = await ada.do("tryToPublish", { colour: GREY.colour, source: "camera" });
    assert.match(camera.error ?? "published", /permission|not allowed/i);
    const { sid } = await ada.do("tryToPublish", { source: "microphone" });
    assert.match(sid ?? "not published", /^TR_/);
    await until("bob to have the microphone alone", () => bob.sees("ada"), (person) => person?.tracks.map(({ source }) => source).join() === "microphone");
    await leave(ada, bob);
  });

  test(`${version}: who may subscribe later sees then what is there, and nothing when it is over`, async () => {
    const room = freshRoom(`late-${version}`);
    await ada.join(room, { single });
    await bob.join(room, { single, grants: { canSubscribe: false } });
    await ada.publish();
    await until("bob to know of ada's camera", () => bob.trackOf("ada", "camera"), (track) => track?.subscribed === false);
    await permit(room, bob, everything);
    await bob.watches(ada);
    await bob.hears(ada);
    await permit(room, bob, { ...everything, canSubscribe: false });
    await bob.notices({ kind: "trackUnsubscribed", who: "ada", source: "camera" });
    await leave(ada, bob);
  });

  test(`${version}: a publisher chooses who receives it`, async () => {
    const room = freshRoom(`chosen-${version}`);
    for (const person of [ada, bob, pia]) await person.join(room, { single });
    await ada.publish();
    await Promise.all([bob, pia].map((other) => other.watches(ada)));
    await ada.do("allow", { everybody: false, people: ["pia"] });
    await bob.notices({ kind: "trackUnsubscribed", who: "ada", source: "camera" });
    assert.equal((await bob.trackOf("ada", "camera"))?.source, "camera", "it stays listed");
    await pia.watches(ada);
    await ada.do("allow", { everybody: true });
    await bob.watches(ada);
    await leave(ada, bob, pia);
  });
}

test("the server mutes a microphone, which its owner is told", async () => {
  const room = freshRoom("muted-by-server");
  await ada.join(room);
  await bob.join(room);
  await ada.publish();
  await bob.hears(ada);
  const { tracks } = await ada.do("me");
  const { sid } = tracks.find(({ source }) => source === "microphone");
  await stage.server.api.mutePublishedTrack(room, "ada", sid, true);
  await ada.notices({ kind: "muted", who: "ada", source: "microphone" });
  await bob.notices({ kind: "muted", who: "ada", source: "microphone" });
  await bob.hearsNothingFrom(ada);
  await leave(ada, bob);
});

test("sound of a shared screen is a track of its own", async () => {
  const room = freshRoom("screen-sound");
  await ada.join(room);
  await bob.join(room);
  await ada.do("shareCanvas", { colour: GREY.colour, tone: LOOKS.pia.tone });
  await bob.watches(ada, { source: "screen_share", rgb: GREY.rgb });
  await until("its sound", () => bob.do("tone", { identity: "ada", source: "screen_share_audio" }), ({ hz }) => Math.abs(hz - LOOKS.pia.tone) <= 8);
  await leave(ada, bob);
});
