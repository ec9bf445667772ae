// Data of every kind between stock clients: Chromium on one connection and on two, Firefox, and the native Python SDK.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { has, preparePython, startDataPython } from "../lib/python.mjs";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const ROOM = freshRoom("data");
const MAY = { canUpdateOwnMetadata: true };

let stage;
let [ada, bob, fay, pia] = [];

before(async () => {
  await preparePython();
  stage = await openStage("data", { firefox: true });
  [ada, bob, fay] = await Promise.all([stage.person(stage.chromium, "ada"), stage.person(stage.chromium, "bob"), stage.person(stage.firefox, "fay")]);
  await ada.join(ROOM, { single: true, grants: MAY });
  await bob.join(ROOM, { single: false, grants: MAY });
  await fay.join(ROOM, { single: true });
  const token = await stage.server.token(ROOM, "pia", { grants: { ...MAY, agent: true } });
  pia = startDataPython({ url: stage.server.socketUrl, token });
  for (const person of [ada, bob, fay]) await until(`${person.identity} to see everybody`, () => person.do("people"), (people) => people.length === 3);
});

after(async () => {
  await pia?.stop();
  await stage?.close();
});

/** Waits until something has arrived at this browser that has all the given properties. */
const gets = (person, expected) => until(`${person.identity} to get ${JSON.stringify(expected)}`, () => person.do("arrived"), (all) => all.some(has(expected)));

const succeeds = async (work) => {
  const outcome = await work;
  assert.equal(outcome?.failed, undefined, JSON.stringify(outcome));
  return outcome;
};

test("Data: a text of a million characters arrives whole everywhere", async () => {
  const length = 1_000_000;
  const expected = { kind: "text", from: "ada", length, checksum: await ada.do("checksumOf", { length }) };
  await succeeds(ada.do("sendText", { length }));
  await Promise.all([gets(bob, expected), gets(fay, expected), pia.gets(expected)]);
});

test("Data: files arrive whole, from a browser on two connections, from Firefox and from Python", async () => {
  const length = 300_000;
  const checksum = await ada.do("checksumOf", { length });
  for (const person of [bob, fay]) {
    await succeeds(person.do("sendFile", { name: `${person.identity}.bin`, length }));
    const expected = { kind: "file", from: person.identity, name: `${person.identity}.bin`, length, checksum };
    await Promise.all([gets(ada, expected), pia.gets(expected)]);
  }
  await succeeds(pia.do("send_file", { name: "pia.bin", length }));
  for (const person of [ada, bob, fay]) await gets(person, { kind: "file", from: "pia", name: "pia.bin", length, checksum });
});

test("Data: a text for one reaches nobody else", async () => {
  await succeeds(ada.do("sendText", { text: "psst", to: ["fay"] }));
  await gets(fay, { kind: "text", from: "ada", text: "psst" });
  await succeeds(ada.do("sendText", { text: "all" }));
  for (const person of [bob, pia]) await (person === pia ? pia.gets({ kind: "text", text: "all" }) : gets(bob, { kind: "text", text: "all" }));
  assert.ok(!(await bob.do("arrived")).some(has({ text: "psst" })));
  assert.ok(!pia.arrived().some(has({ text: "psst" })));
});

test("Data: procedures are called between all kinds of clients, with small and large payloads", async () => {
  for (const person of [ada, bob, fay]) await person.do("answerCalls", { method: "shout" });
  await pia.do("answer_calls", { method: "shout" });
  const pairs = [[ada, "bob"], [bob, "fay"], [fay, "ada"], [ada, "pia"], [bob, "pia"]];
  for (const [caller, to] of pairs) {
    assert.deepEqual(await caller.do("call", { to, method: "shout", payload: "hello" }), { text: "HELLO" }, `${caller.identity} calls ${to}`);
  }
  for (const to of ["ada", "bob", "fay"]) {
    assert.deepEqual(await pia.do("call", { to, method: "shout", payload: "hello" }), { text: "HELLO" }, `pia calls ${to}`);
  }
  // More than fits into one message: clients know from each other's announcements that both can do it.
  for (const [caller, to] of pairs) assert.equal((await succeeds(caller.do("call", { to, method: "shout", length: 100_000 }))).length, 100_000, `${caller.identity} to ${to}`);
});

test("Data: a call that fails says why", async () => {
  for (const [caller, to] of [[ada, "bob"], [bob, "pia"], [fay, "ada"]]) {
    const { failed, code } = await caller.do("call", { to, method: "shout", payload: "" });
    assert.deepEqual([failed, code], ["nothing to shout", 7]);
    assert.equal((await caller.do("call", { to, method: "whisper", payload: "x" })).code, 1400, "no such method");
  }
  assert.equal((await pia.do("call", { to: "ada", method: "whisper", payload: "x" })).code, 1400);
});

test("Data: chat and dialled digits reach the others", async () => {
  await succeeds(bob.do("chat", { text: "hello everybody" }));
  for (const person of [ada, fay]) await gets(person, { kind: "chat", from: "bob", text: "hello everybody" });
  await succeeds(ada.do("dial", { code: 11, digit: "#" }));
  await pia.gets({ kind: "dtmf", from: "ada", code: 11, digit: "#" });
  await succeeds(pia.do("dial", { code: 5, digit: "5" }));
  for (const person of [ada, bob, fay]) await gets(person, { kind: "dtmf", from: "pia", code: 5, digit: "5" });
});

test("Data: an agent says what somebody has said", async () => {
  await succeeds(pia.do("transcribe", { text: "good morning", who: "ada" }));
  for (const person of [ada, bob, fay]) await gets(person, { kind: "transcription", text: "good morning" });
});

test("Data: attributes and metadata are changed, deleted and told", async () => {
  await succeeds(ada.do("setAttributes", { hand: "raised", mood: "fine" }));
  await gets(bob, { kind: "attributes", from: "ada", changed: { hand: "raised", mood: "fine" } });
  await pia.gets({ kind: "attributes", from: "ada", changed: { hand: "raised", mood: "fine" } });
  await succeeds(ada.do("setAttributes", { hand: "" }));
  await until("the attribute to be gone", () => bob.do("attributesOf", { identity: "ada" }), (attributes) => attributes.mood === "fine" && !attributes.hand);
  await succeeds(bob.do("setMetadata", { text: "second seat" }));
  await gets(ada, { kind: "metadata", from: "bob", text: "second seat" });
  await succeeds(pia.do("set_attributes", { attributes: { role: "scribe" } }));
  await gets(fay, { kind: "attributes", from: "pia", changed: { role: "scribe" } });
  const refused = await fay.do("setAttributes", { hand: "raised" });
  assert.ok(refused.failed, "fay's token does not allow it");
  const large = await ada.do("setMetadata", { text: "x".repeat(70_000) });
  assert.ok(large.failed, "larger than allowed");
});

test("Data: frames of data tracks reach those who subscribe, small and in many packets", async () => {
  for (const [publisher, receivers] of [[ada, [bob, fay]], [bob, [ada, fay]], [fay, [ada, bob]]]) {
    const name = `track of ${publisher.identity}`;
    await succeeds(publisher.do("publishDataTrack", { name }));
    for (const receiver of receivers) {
      await gets(receiver, { kind: "data track", from: publisher.identity, name });
      await receiver.do("subscribeDataTrack", { name });
    }
    await pia.gets({ kind: "data track", from: publisher.identity, name });
    await succeeds(pia.do("subscribe_data_track", { name }));
    for (const length of [20, 10_000]) {
      const expected = { kind: "frames", name, ...(length > 200 ? { length, checksum: await ada.do("checksumOf", { length }) } : {}) };
      const push = () => publisher.do("pushFrames", { name, count: 5, length });
      const came = async () => {
        await succeeds(push());
        const all = [...(await Promise.all(receivers.map((receiver) => receiver.do("arrived")))), pia.arrived()];
        return all.every((arrived) => arrived.some((one) => one.count > 0 && has(expected)(one)));
      };
      await until(`frames of ${length} bytes of ${publisher.identity} everywhere`, came);
    }
  }
});

test("Data: a data track of the Python client reaches browsers", async () => {
  await succeeds(pia.do("publish_data_track", { name: "arm" }));
  for (const person of [ada, bob, fay]) {
    await gets(person, { kind: "data track", from: "pia", name: "arm" });
    await person.do("subscribeDataTrack", { name: "arm" });
  }
  const came = async () => {
    await succeeds(pia.do("push_frames", { name: "arm", count: 5, length: 3_000 }));
    const all = await Promise.all([ada, bob, fay].map((person) => person.do("arrived")));
    return all.every((arrived) => arrived.some(has({ kind: "frames", name: "arm", length: 3_000 })));
  };
  await until("frames of the arm everywhere", came);
});

test("Data: a data track that is refused or taken down is told", async () => {
  const twice = await ada.do("publishDataTrack", { name: "track of ada" });
  assert.equal(twice.reason, "DuplicateName", JSON.stringify(twice));
  await succeeds(ada.do("unpublishDataTrack", { name: "track of ada" }));
  for (const person of [bob, fay]) await gets(person, { kind: "frames", name: "track of ada", ended: true });
  await pia.gets({ kind: "frames ended", name: "track of ada" });
});

test("Data: a newcomer misses nothing that is sent once it is there", async () => {
  const zoe = await stage.person(stage.chromium, "zoe");
  const joining = zoe.join(ROOM, { single: false });
  await ada.notices({ kind: "joined", who: "zoe" });
  await ada.do("sendNumbers", { count: 300, length: 1_000, to: ["zoe"] });
  await joining;
  const numbers = await until("zoe to have all numbers", () => zoe.do("numbers"), ({ last }) => last === 299);
  assert.deepEqual(numbers, { count: 300, gaps: 0, first: 0, last: 299 });
  await zoe.close();
});
