// Every method of RoomService, called with the stock server SDK, and what the people in the room see of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ParticipantInfo_KindDetail } from "@livekit/protocol";
import { AccessToken, DataPacket_Kind } from "livekit-server-sdk";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const ROOM = freshRoom("api");
const ELSEWHERE = freshRoom("api-elsewhere");

let stage;
let api;
let [ada, bob] = [];

before(async () => {
  stage = await openStage("api");
  ({ api } = stage.server);
  ada = await stage.person(stage.chromium, "ada");
  bob = await stage.person(stage.chromium, "bob");
});

after(() => stage?.close());

const fails = (call, status, code) => assert.rejects(call, (error) => error.status === status && error.code === code, `${status} ${code}`);

/** What a person knows of itself. */
const knows = (person, what, good) => until(`${person.identity} to know ${what}`, () => person.do("me"), good);

const sidOf = async (person, source) => (await person.do("me")).tracks.find((track) => track.source === source).sid;

test("API: a room is made with its options, and made again it is the same", async () => {
  const made = await api.createRoom({ name: ROOM, emptyTimeout: 60, departureTimeout: 30, maxParticipants: 2, metadata: "first" });
  assert.deepEqual([made.name, made.emptyTimeout, made.departureTimeout, made.maxParticipants, made.metadata], [ROOM, 60, 30, 2, "first"]);
  const again = await api.createRoom({ name: ROOM, metadata: "second" });
  assert.deepEqual([again.sid, again.metadata], [made.sid, "first"]);
  const [listed] = await api.listRooms([ROOM]);
  assert.equal(listed.sid, made.sid);
  await ada.join(ROOM, { single: true });
  await bob.join(ROOM, { single: false });
  await knows(ada, "the room's metadata", ({ roomMetadata }) => roomMetadata === "first");
  await Promise.all([ada, bob].map((person) => person.publish()));
  await bob.watches(ada);
  await bob.hears(ada);
});

test("API: a room's metadata changes for who is in it", async () => {
  const room = await api.updateRoomMetadata(ROOM, "third");
  assert.deepEqual([room.metadata, room.numParticipants], ["third", 2]);
  for (const person of [ada, bob]) await knows(person, "the new metadata", ({ roomMetadata }) => roomMetadata === "third");
  await fails(api.updateRoomMetadata(freshRoom("nowhere"), "x"), 404, "not_found");
});

test("API: participants are listed and found", async () => {
  const listed = await api.listParticipants(ROOM);
  assert.deepEqual(listed.map(({ identity }) => identity).sort(), ["ada", "bob"]);
  const found = await api.getParticipant(ROOM, "ada");
  assert.deepEqual([found.sid, found.name, found.tracks.length, found.permission.canPublish], [ada.joined.sid, "ada", 2, true]);
  await fails(api.getParticipant(ROOM, "nobody"), 404, "not_found");
});

test("API: name, metadata and attributes of a participant change for itself and for others", async () => {
  const now = await api.updateParticipant(ROOM, "ada", { name: "Ada L", metadata: "engine", attributes: { someKey: "1", gone: "2" } });
  assert.deepEqual([now.name, now.metadata, now.attributes], ["Ada L", "engine", { someKey: "1", gone: "2" }]);
  const later = await api.updateParticipant(ROOM, "ada", { attributes: { gone: "" } });
  assert.deepEqual([later.name, later.attributes], ["Ada L", { someKey: "1" }]);
  await knows(ada, "its new name", ({ name, metadata, attributes }) => name === "Ada L" && metadata === "engine" && attributes.someKey === "1" && !("gone" in attributes));
  await until("bob to see ada's new name", () => bob.sees("ada"), ({ name }) => name === "Ada L");
  await fails(api.updateParticipant(ROOM, "nobody", { name: "x" }), 404, "not_found");
  await fails(api.updateParticipant(ROOM, "ada", { metadata: "x".repeat(65_537) }), 400, "invalid_argument");
});

test("API: a muted track is silent at once, seen as muted, and unmuted by its publisher alone", async () => {
  const sid = await sidOf(ada, "microphone");
  const track = await api.mutePublishedTrack(ROOM, "ada", sid, true);
  assert.deepEqual([track.sid, track.muted], [sid, true]);
  await knows(ada, "that it is muted", ({ tracks }) => tracks.find((track) => track.sid === sid).muted);
  await until("bob to see it", () => bob.trackOf("ada", "microphone"), ({ muted }) => muted);
  await bob.hearsNothingFrom(ada);
  await fails(api.mutePublishedTrack(ROOM, "ada", sid, false), 412, "failed_precondition");
  await fails(api.mutePublishedTrack(ROOM, "bob", sid, true), 404, "not_found");
  await ada.do("setMuted", { source: "microphone", muted: false });
  await bob.hears(ada);
});

test("API: the server subscribes and unsubscribes a participant", async () => {
  const sid = await sidOf(ada, "camera");
  await api.updateSubscriptions(ROOM, "bob", [sid], false);
  await bob.notices({ kind: "trackUnsubscribed", who: "ada", source: "camera" });
  await api.updateSubscriptions(ROOM, "bob", [sid], true);
  await bob.watches(ada);
  await fails(api.updateSubscriptions(ROOM, "nobody", [sid], true), 404, "not_found");
});

test("API: data goes to everybody, or to who is named by identity or session", async () => {
  const say = (text, kind, options) => api.sendData(ROOM, new TextEncoder().encode(text), kind, { topic: "news", ...options });
  await say("to bob", DataPacket_Kind.RELIABLE, { destinationIdentities: ["bob"] });
  await say("to ada", DataPacket_Kind.RELIABLE, { destinationSids: [ada.joined.sid] });
  await say("to nobody", DataPacket_Kind.RELIABLE, { destinationIdentities: ["nobody"] });
  await say("to all, once", DataPacket_Kind.LOSSY);
  await say("to all", DataPacket_Kind.RELIABLE);
  for (const person of [ada, bob]) {
    await person.receives({ text: "to all, once", topic: "news", reliable: false, from: undefined });
    await person.receives({ text: "to all", topic: "news", reliable: true, from: undefined });
    // In order: whatever else there was has come.
    const reliable = (await person.do("messages")).filter((message) => message.reliable).map(({ text }) => text);
    assert.deepEqual(reliable, [`to ${person.identity}`, "to all"]);
  }
  await fails(api.sendData(freshRoom("nowhere"), new Uint8Array(1), DataPacket_Kind.RELIABLE, {}), 404, "not_found");
  await fails(api.sendData(ROOM, new Uint8Array(70_000), DataPacket_Kind.RELIABLE, {}), 400, "invalid_argument");
});

/** A call that this version of the SDK has no method for. */
async function call(method, body) {
  const token = new AccessToken("devkey", "secret", { ttl: "1m" });
  token.addGrant({ roomAdmin: true, room: ROOM });
  const headers = { authorization: `Bearer ${await token.toJwt()}`, "content-type": "application/json" };
  const response = await fetch(`${stage.server.url}/twirp/livekit.RoomService/${method}`, { method: "POST", headers, body: JSON.stringify(body) });
  return { status: response.status, ...(await response.json()) };
}

test("API: a procedure of a participant is called, and its result or error comes back", async () => {
  const shout = { room: ROOM, destinationIdentity: "bob", method: "shout", responseTimeoutMs: 10_000 };
  await bob.do("answerCalls", { method: "shout" });
  const done = await call("PerformRpc", { ...shout, payload: "hello" });
  assert.deepEqual(done, { status: 200, payload: "HELLO" });
  const failed = await call("PerformRpc", shout);
  assert.deepEqual([failed.status, failed.code, failed.msg, failed.meta.rpc_code], [412, "failed_precondition", "nothing to shout", "7"]);
  const unknown = await call("PerformRpc", { ...shout, method: "whisper" });
  assert.deepEqual([unknown.status, unknown.meta.rpc_code], [412, "1400"]);
  assert.equal((await call("PerformRpc", { ...shout, destinationIdentity: "nobody" })).status, 404);
});

test("API: permissions that are taken end what is published and received, and given back allow it again", async () => {
  const viewer = await api.updateParticipant(ROOM, "ada", { permission: { canSubscribe: true } });
  assert.deepEqual([viewer.permission.canPublish, viewer.permission.canPublishData, viewer.tracks.length], [false, false, 0]);
  await knows(ada, "that it may not publish", ({ canPublish, tracks }) => !canPublish && tracks.length === 0);
  await until("bob to see no tracks of ada", () => bob.sees("ada"), ({ tracks }) => tracks.length === 0);
  await api.updateParticipant(ROOM, "ada", { permission: { canSubscribe: true, canPublish: true, canPublishData: true } });
  await knows(ada, "that it may publish again", ({ canPublish }) => canPublish);
  await ada.publish();
  await bob.watches(ada);
  await api.updateParticipant(ROOM, "bob", { permission: { canPublish: true } });
  await until("bob to receive nothing", () => bob.sees("ada"), ({ tracks }) => tracks.every((track) => !track.subscribed));
  await api.updateParticipant(ROOM, "bob", { permission: { canPublish: true, canSubscribe: true } });
  await bob.watches(ada);
});

test("API: a participant moves to another room on its connection: it goes on publishing, and sees who is there", async () => {
  const pia = await stage.person(stage.chromium, "pia");
  await pia.join(ELSEWHERE, { single: false });
  await pia.publish();
  // One over one connection, the other over two.
  for (const person of [ada, bob]) {
    const joined = (await person.do("events")).length;
    await api.moveParticipant(ROOM, person.identity, ELSEWHERE);
    await person.notices({ kind: "moved", to: ELSEWHERE });
    await pia.watches(person);
    await pia.hears(person);
    await person.watches(pia);
    await person.hears(pia);
    const since = (await person.do("events")).slice(joined).map(({ kind }) => kind);
    assert.ok(!since.includes("reconnecting") && !since.includes("disconnected"), `${since}`);
  }
  await bob.watches(ada);
  assert.deepEqual(await api.listParticipants(ROOM), []);
  const there = (await api.listParticipants(ELSEWHERE)).map(({ identity }) => identity);
  assert.deepEqual(there.sort(), ["ada", "bob", "pia"]);
  await fails(api.moveParticipant(ROOM, "ada", ELSEWHERE), 404, "not_found");
  await fails(api.moveParticipant(ELSEWHERE, "ada", ELSEWHERE), 400, "invalid_argument");
  for (const person of [ada, bob]) await api.moveParticipant(ELSEWHERE, person.identity, ROOM);
  await until("pia to be alone", () => pia.do("people"), (people) => people.length === 0);
  await bob.watches(ada);
  await ada.hears(bob);
  await knows(ada, "the room's metadata", ({ roomMetadata }) => roomMetadata === "third");
  await pia.close();
});

test("API: a participant is forwarded: seen and heard in another room, too, until it is removed there", async () => {
  const pia = await stage.person(stage.chromium, "pia");
  await pia.join(ELSEWHERE, { single: true });
  await pia.publish();
  // One over one connection, the other over two.
  for (const person of [ada, bob]) {
    await api.forwardParticipant(ROOM, person.identity, ELSEWHERE);
    await api.forwardParticipant(ROOM, person.identity, ELSEWHERE);
    await pia.watches(person);
    await pia.hears(person);
  }
  await bob.watches(ada);
  const copy = await api.getParticipant(ELSEWHERE, "ada");
  assert.deepEqual([copy.tracks.length, copy.kindDetails], [2, [ParticipantInfo_KindDetail.FORWARDED]]);
  assert.deepEqual((await api.getParticipant(ROOM, "ada")).kindDetails, []);
  assert.deepEqual((await ada.do("people")).map(({ identity }) => identity), ["bob"], "who is forwarded sees nobody there");
  await ada.do("send", { text: "to both rooms", reliable: true, topic: "news" });
  for (const person of [bob, pia]) await person.receives({ text: "to both rooms", from: "ada" });
  for (const muted of [true, false]) {
    await ada.do("setMuted", { source: "microphone", muted });
    await until(`pia to see that ada is ${muted ? "" : "not "}muted`, () => pia.trackOf("ada", "microphone"), (track) => track.muted === muted);
  }
  await pia.hears(ada);
  await fails(api.updateParticipant(ELSEWHERE, "ada", { metadata: "x" }), 412, "failed_precondition");
  await fails(api.forwardParticipant(ROOM, "nobody", ELSEWHERE), 404, "not_found");
  await fails(api.forwardParticipant(ROOM, "ada", ROOM), 400, "invalid_argument");
  await fails(api.moveParticipant(ROOM, "ada", ELSEWHERE), 409, "already_exists");
  await api.removeParticipant(ELSEWHERE, "ada");
  await pia.notices({ kind: "left", who: "ada" });
  await bob.watches(ada);
  await pia.watches(bob);
  await api.deleteRoom(ELSEWHERE);
  assert.deepEqual((await api.listParticipants(ROOM)).map(({ identity }) => identity).sort(), ["ada", "bob"]);
  await bob.hears(ada);
  await pia.close();
});

test("API: a participant is removed and a room deleted", async () => {
  await api.removeParticipant(ROOM, "bob");
  assert.deepEqual((await api.listParticipants(ROOM)).map(({ identity }) => identity), ["ada"]);
  await bob.notices({ kind: "disconnected", reason: "PARTICIPANT_REMOVED" });
  await ada.notices({ kind: "left", who: "bob" });
  await fails(api.removeParticipant(ROOM, "bob"), 404, "not_found");
  await api.deleteRoom(ROOM);
  await ada.notices({ kind: "disconnected", reason: "ROOM_DELETED" });
  assert.deepEqual(await api.listRooms([ROOM]), []);
  await fails(api.deleteRoom(ROOM), 404, "not_found");
});
