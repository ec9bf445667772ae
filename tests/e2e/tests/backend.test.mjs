// The stock server SDK for Python calls every method of RoomService that it has, with a browser and a native client in the room.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startApi } from "../lib/backend.mjs";
import { LOOKS } from "../lib/person.mjs";
import { preparePython, startPython } from "../lib/python.mjs";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const ROOM = freshRoom("backend");
const ELSEWHERE = freshRoom("backend-elsewhere");
const PIA = { identity: "pia", look: LOOKS.pia };

let stage;
let api;
let [ada, pia] = [];

before(async () => {
  await preparePython();
  stage = await openStage("backend");
  api = startApi(stage.server.url);
  ada = await stage.person(stage.chromium, "ada");
});

after(async () => {
  await pia?.stop();
  await api?.stop();
  await stage?.close();
});

const of = (identity, room = ROOM) => ({ room, identity });
const identities = async (room) => ((await api.call("list_participants", "ListParticipantsRequest", { room })).participants ?? []).map(({ identity }) => identity).sort();

test("Python API: rooms are made, listed and changed", async () => {
  const made = await api.call("create_room", "CreateRoomRequest", { name: ROOM, emptyTimeout: 60, departureTimeout: 30, maxParticipants: 4, metadata: "first" });
  assert.deepEqual([made.name, made.emptyTimeout, made.departureTimeout, made.maxParticipants, made.metadata], [ROOM, 60, 30, 4, "first"]);
  const { rooms } = await api.call("list_rooms", "ListRoomsRequest", { names: [ROOM] });
  assert.deepEqual(rooms.map(({ sid }) => sid), [made.sid]);
  assert.equal((await api.call("update_room_metadata", "UpdateRoomMetadataRequest", { room: ROOM, metadata: "second" })).metadata, "second");
  await api.fails("update_room_metadata", "UpdateRoomMetadataRequest", { room: freshRoom("nowhere"), metadata: "x" }, { code: "not_found", status: 404 });
});

test("Python API: participants are listed, found and changed", async () => {
  await ada.join(ROOM, { single: true });
  await ada.publish();
  const token = await stage.server.token(ROOM, PIA.identity);
  pia = startPython({ url: stage.server.socketUrl, token, tone: PIA.look.tone, colour: PIA.look.rgb });
  await ada.watches(PIA, { width: 320, height: 180 });
  await pia.sees("ada's picture", ({ people }) => people?.ada?.frames > 10);
  assert.deepEqual(await identities(ROOM), ["ada", "pia"]);
  const found = await api.call("get_participant", "RoomParticipantIdentity", of("ada"));
  assert.deepEqual([found.sid, found.tracks.length], [ada.joined.sid, 2]);
  const now = await api.call("update_participant", "UpdateParticipantRequest", { ...of("ada"), name: "Ada L", metadata: "m", attributes: { key: "1" } });
  assert.deepEqual([now.name, now.metadata, now.attributes], ["Ada L", "m", { key: "1" }]);
  await until("ada to know it", () => ada.do("me"), ({ name, metadata }) => name === "Ada L" && metadata === "m");
  await api.fails("get_participant", "RoomParticipantIdentity", of("nobody"), { code: "not_found", status: 404 });
});

test("Python API: tracks are muted and subscribed", async () => {
  const { tracks } = await api.call("get_participant", "RoomParticipantIdentity", of("pia"));
  const camera = tracks.find(({ type }) => type === "VIDEO").sid;
  await api.call("update_subscriptions", "UpdateSubscriptionsRequest", { ...of("ada"), trackSids: [camera], subscribe: false });
  await ada.notices({ kind: "trackUnsubscribed", who: "pia", source: "camera" });
  await api.call("update_subscriptions", "UpdateSubscriptionsRequest", { ...of("ada"), trackSids: [camera], subscribe: true });
  await ada.watches(PIA, { width: 320, height: 180 });
  const mute = { ...of("pia"), trackSid: camera, muted: true };
  assert.equal((await api.call("mute_published_track", "MuteRoomTrackRequest", mute)).track.muted, true);
  await until("ada to see it muted", () => ada.trackOf("pia", "camera"), ({ muted }) => muted);
  await api.fails("mute_published_track", "MuteRoomTrackRequest", { ...mute, muted: false }, { code: "failed_precondition", status: 412 });
});

test("Python API: data reaches a browser and a native client", async () => {
  const data = Buffer.from("from the back end").toString("base64");
  await api.call("send_data", "SendDataRequest", { room: ROOM, data, kind: "RELIABLE", topic: "news" });
  await ada.receives({ text: "from the back end", topic: "news", reliable: true });
  await pia.sees("the message", ({ messages }) => messages.some(({ text }) => text === "from the back end"));
});

test("Python API: a browser and a native client move to another room and back", async () => {
  for (const identity of ["ada", "pia"]) await api.call("move_participant", "MoveParticipantRequest", { ...of(identity), destinationRoom: ELSEWHERE });
  await ada.notices({ kind: "moved", to: ELSEWHERE });
  await until("both to be there", () => identities(ELSEWHERE), (there) => `${there}` === "ada,pia");
  await ada.hears(PIA);
  const before = await pia.sees("ada", ({ people }) => people.ada.frames > 0);
  await pia.sees("more of ada's picture", ({ people }) => people.ada.frames > before.people.ada.frames + 10);
  for (const identity of ["ada", "pia"]) await api.call("move_participant", "MoveParticipantRequest", { ...of(identity, ELSEWHERE), destinationRoom: ROOM });
  await until("both to be back", () => identities(ROOM), (there) => `${there}` === "ada,pia");
  await ada.hears(PIA);
});

test("Python API: a native client is seen and heard in another room, too, until it is removed there", async () => {
  const forward = (identity, destinationRoom) => ["forward_participant", "ForwardParticipantRequest", { ...of(identity), destinationRoom }];
  await api.call("move_participant", "MoveParticipantRequest", { ...of("ada"), destinationRoom: ELSEWHERE });
  await until("ada to be alone", () => ada.do("people"), (people) => people.length === 0);
  await api.call(...forward("pia", ELSEWHERE));
  await ada.hears(PIA);
  await until("ada to see that its camera is muted", () => ada.trackOf("pia", "camera"), ({ muted }) => muted);
  assert.deepEqual([await identities(ROOM), await identities(ELSEWHERE)], [["pia"], ["ada", "pia"]]);
  const copy = await api.call("get_participant", "RoomParticipantIdentity", of("pia", ELSEWHERE));
  assert.deepEqual(copy.kindDetails, ["FORWARDED"]);
  await api.fails(...forward("pia", ROOM), { code: "invalid_argument", status: 400 });
  await api.fails(...forward("nobody", ELSEWHERE), { code: "not_found", status: 404 });
  await api.call("remove_participant", "RoomParticipantIdentity", of("pia", ELSEWHERE));
  await until("it to be shown no more", () => identities(ELSEWHERE), (there) => `${there}` === "ada");
  assert.deepEqual(await identities(ROOM), ["pia"]);
  await api.call("move_participant", "MoveParticipantRequest", { ...of("ada", ELSEWHERE), destinationRoom: ROOM });
  await ada.hears(PIA);
});

test("Python API: a participant is removed and a room deleted", async () => {
  await api.call("remove_participant", "RoomParticipantIdentity", of("pia"));
  assert.deepEqual(await identities(ROOM), ["ada"]);
  await ada.notices({ kind: "left", who: "pia" });
  await api.call("delete_room", "DeleteRoomRequest", { room: ROOM });
  await ada.notices({ kind: "disconnected", reason: "ROOM_DELETED" });
  await api.fails("delete_room", "DeleteRoomRequest", { room: ROOM }, { code: "not_found", status: 404 });
});
