import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, directId, memoryStorage } from "../dist/index.js";
import { clock, item, settle, STATE, World } from "./lib/world.mjs";

async function opened({ world = new World(), storage, state = {}, open, receipts } = {}) {
  const client = await Client.start({ url: "ws://host", token: "t", platform: world.platform(), storage, receipts });
  await settle();
  world.socket.welcome();
  const channel = client.channel("c").open(open);
  await settle();
  world.socket.ok(world.socket.take("subscribe"), { cursor: "c0", csn: 0, state: { ...STATE, ...state } });
  await settle();
  const problems = [];
  client.on("problem", ({ what }) => problems.push(what));
  let cursor = 0;
  const events = (...items) => world.socket.say({ v: 1, events: { channel: "c", cursor: `c${++cursor}`, items } });
  return { world, client, channel, socket: world.socket, problems, events };
}

const shown = (channel) => channel.messages.map(({ id, body, deleted }) => `${id} ${deleted ? "deleted" : body}`);
const us = (n, t, more = {}) => item(n, { id: `us.1.${n}`, ...(n > 1 && { prev: `us.1.${n - 1}` }), t: clock(t), from: { user: "eve", device: "e" }, ...more });

test("items are displayed by clock, region, epoch and number, whichever came first", async () => {
  const { channel, events } = await opened();
  events(item(1, { t: clock(10) }), item(2, { t: clock(30) }));
  events(us(1, 20), us(2, 30));
  assert.deepEqual(channel.messages.map(({ id }) => id), ["eu.1.1", "us.1.1", "eu.1.2", "us.1.2"]);
  assert.equal(channel.messages[1].time, 20);
});

test("the last edit in the displayed order shows, a delete wins, in any order of arrival", async () => {
  const edit = (n, t, body) => item(n, { kind: "edit", target: "eu.1.1", body, t: clock(t) });
  const events = [item(1), edit(2, 2_030, "late"), us(1, 2_020, { kind: "edit", target: "eu.1.1", body: "early" })];
  for (const order of [[0, 1, 2], [2, 0, 1], [1, 2, 0]]) {
    const all = await opened();
    all.world.socket.say({ events: { channel: "c", cursor: "x", items: order.map((at) => events[at]) } });
    assert.deepEqual(shown(all.channel), ["eu.1.1 late"]);
    all.events(us(2, 2_025, { kind: "delete", target: "eu.1.1" }));
    assert.deepEqual(shown(all.channel), ["eu.1.1 deleted"]);
    assert.equal(all.channel.messages[0].body, undefined);
  }
});

test("of two totals the one of the higher clock is right; nobody is no total", async () => {
  const { channel, events } = await opened();
  const fold = (n, count, mine = false) => item(n, { prev: n === 3 ? "eu.1.1" : `eu.1.${n - 1}`, kind: "folded", body: undefined, from: undefined, csn: undefined, folded: { kind: "reactions", totals: [{ event: "eu.1.1", emoji: "+1", count, mine }] } });
  events(item(1), fold(3, 12));
  events(fold(2, 5));
  assert.deepEqual(channel.messages[0].totals, [{ emoji: "+1", count: 12, mine: false }]);
  events(fold(4, 0));
  assert.deepEqual(channel.messages[0].totals, []);
  assert.equal(channel.messages.length, 1);
});

test("an own reaction shows at once, and stays when it is accepted until the stream's total comes", async () => {
  const { channel, events, socket } = await opened();
  events(item(1, { totals: [{ emoji: "+1", count: 2, mine: false }] }));
  channel.react("eu.1.1", "+1");
  const mine = [{ emoji: "+1", count: 3, mine: true }];
  assert.deepEqual(channel.messages[0].totals, mine);
  socket.ok(socket.take("react"), { event: "eu.1.2", token: "t" });
  assert.deepEqual(channel.messages[0].totals, mine);
  events(item(2, { kind: "folded", from: undefined, folded: { kind: "reactions", totals: [{ event: "eu.1.1", emoji: "+1", count: 7, mine: true }] } }));
  assert.deepEqual(channel.messages[0].totals, [{ emoji: "+1", count: 7, mine: true }]);
});

test("a hole is shown until what was missing has come, which is marked late", async () => {
  const { channel, events } = await opened();
  events(item(1), item(2, { kind: "hole", from: undefined, body: undefined, hole: { region: "us", epoch: 1, upto: 2 } }));
  assert.deepEqual(channel.messages.map(({ kind }) => kind), ["message", "hole"]);
  events(us(1, 5_000, { late: true }));
  assert.deepEqual(channel.messages.map(({ kind, late }) => [kind, late]), [["message", false], ["hole", false], ["message", true]]);
  events(us(2, 5_001, { late: true }));
  assert.deepEqual(channel.messages.map(({ kind }) => kind), ["message", "message", "message"]);
});

test("a message that two regions accepted is one, at the earlier place, and both ids lead to it", async () => {
  const { channel, events } = await opened();
  const from = { user: "bob", device: "b" };
  events(us(1, 20, { from, csn: 7, body: "twin" }), item(1, { t: clock(10), from, csn: 7, body: "twin", alias_of: "us.1.1" }));
  assert.deepEqual(channel.messages.map(({ id }) => id), ["eu.1.1"]);
  events(item(2, { kind: "edit", target: "us.1.1", body: "edited" }));
  assert.deepEqual(shown(channel), ["eu.1.1 edited"]);
  assert.equal(channel.message("us.1.1").id, "eu.1.1");
});

test("pages go into the list, what became of their messages with them, until the start is reached", async () => {
  const { channel, events, socket } = await opened();
  events(item(9), item(10));
  const first = channel.older(3);
  const one = socket.take("history");
  assert.deepEqual([one.history.before, one.history.limit], ["eu.1.9", 3]);
  socket.ok(one, { items: [item(8), item(7, { edited: true, body: "new" }), item(5, { deleted: true, body: null })], token: "p" });
  assert.equal(await first, 3);
  assert.deepEqual(shown(channel), ["eu.1.5 deleted", "eu.1.7 new", "eu.1.8 m8", "eu.1.9 m9", "eu.1.10 m10"]);
  assert.equal(channel.atStart, false);
  const second = channel.older(3);
  assert.equal(channel.older(3), second, "two calls are one page");
  socket.ok(socket.take("history"), { items: [item(4)], token: "p" });
  assert.equal(await second, 1);
  assert.equal(channel.atStart, true);
  assert.equal(await channel.older(), 0);
});

test("what is delivered again is shown once and told once", async () => {
  const { channel, events } = await opened();
  const told = [];
  channel.on("item", ({ id }) => told.push(id));
  events(item(1), item(2));
  events(item(1), item(2), item(3));
  assert.deepEqual(told, ["eu.1.1", "eu.1.2", "eu.1.3"]);
  assert.deepEqual(shown(channel), ["eu.1.1 m1", "eu.1.2 m2", "eu.1.3 m3"]);
});

test("a gap in the stream is asked for again from where it was whole, once", async () => {
  const { world, channel, events, problems, socket } = await opened({ receipts: false });
  events(item(1));
  events(item(3));
  assert.deepEqual(shown(channel), ["eu.1.1 m1"]);
  const frame = socket.take("subscribe");
  assert.deepEqual(frame.subscribe.from, { cursor: "c1" });
  socket.ok(frame, { cursor: "c1", csn: 0, state: STATE });
  events(item(2), item(3));
  assert.deepEqual(shown(channel), ["eu.1.1 m1", "eu.1.2 m2", "eu.1.3 m3"]);
  events(item(6));
  assert.deepEqual(socket.all("subscribe"), [], "not again within half a minute");
  assert.deepEqual(problems, ["gap", "gap"]);
  await world.pass(31_000);
  events(item(8));
  assert.equal(socket.all("subscribe").length, 1);
});

test("items with ids that are none are told as a problem, and the rest is shown", async () => {
  const { channel, events, problems } = await opened();
  events({ kind: "message", body: "x" }, item(1, { id: "eu" }), item(1, { t: 7 }), item(1, { id: 7 }), item(1));
  assert.deepEqual(problems, ["bad_frame", "bad_frame", "bad_frame", "bad_frame"]);
  assert.deepEqual(shown(channel), ["eu.1.1 m1"]);
});

test("a connection that comes back resumes every open channel by its cursor", async () => {
  const { world, client, channel, events } = await opened();
  client.channel("d").open({ events: false });
  world.socket.ok(world.socket.take("subscribe"), { cursor: "d0", csn: 0, state: STATE });
  client.channel("e").open();
  client.channel("e").close();
  events(item(1));
  world.socket.cut();
  assert.equal(channel.status, "opening");
  await world.pass(1_000);
  const connect = world.socket.welcome({ channels: [{ channel: "c", ok: { cursor: "c1", csn: 0, state: STATE } }, { channel: "d", error: { code: "removed", id: "eu.1.2", final: true } }] });
  assert.deepEqual(connect.connect.resume, [{ channel: "c", cursor: "c1", open: true }, { channel: "d", cursor: "d0", open: false }]);
  await settle();
  events(item(2));
  assert.deepEqual(shown(channel), ["eu.1.1 m1", "eu.1.2 m2"]);
  assert.equal(client.channel("d").status, "gone");
  assert.equal(client.channel("d").error.code, "removed");
  assert.deepEqual(world.socket.inbox.filter((frame) => !("read" in frame)), []);
});

test("a cursor that is refused is dropped, and the channel begins with its last messages", async () => {
  const { world, channel, events } = await opened();
  const resets = [];
  channel.on("reset", ({ why }) => resets.push(why));
  events(item(1), item(2));
  world.socket.cut();
  await world.pass(1_000);
  world.socket.welcome({ channels: [{ channel: "c", error: { code: "bad_cursor", final: true } }] });
  await settle();
  const frame = world.socket.take("subscribe");
  assert.deepEqual(frame.subscribe.from, { last: 30 });
  world.socket.ok(frame, { cursor: "x0", csn: 0, state: STATE });
  events(item(1, { id: "eu.2.1" }));
  assert.deepEqual(shown(channel), ["eu.2.1 m1"]);
  assert.deepEqual(resets, ["bad_cursor"]);
});

test("a channel that is refused for a while is asked for again, and cursors that do not fit are sent one by one", async () => {
  const { world, client } = await opened();
  for (let at = 0; at < 60; at++) {
    client.channel(`d${at}`).open();
    world.socket.ok(world.socket.take("subscribe"), { cursor: "x".repeat(1_000), csn: 0, state: STATE });
  }
  world.socket.cut();
  await world.pass(1_000);
  world.socket.accept();
  const connect = world.socket.take("connect");
  const { resume } = connect.connect;
  assert.ok(JSON.stringify(connect).length < 40_000 && resume.length > 20);
  const channels = resume.map(({ channel, cursor }) => ({ channel, ok: { cursor, csn: 0, state: STATE } }));
  channels[0] = { channel: "c", error: { code: "busy", final: false, retry_after: 300 } };
  world.socket.ok(connect, { user: "ann", ping: 25_000, channels });
  await settle();
  const rest = world.socket.all("subscribe");
  assert.equal(rest.length + resume.length, 61);
  assert.ok(rest.every(({ subscribe }) => subscribe.from.cursor));
  await world.pass(301);
  assert.equal(world.socket.take("subscribe").subscribe.channel, "c");
});

test("a reset drops the list and pages what is before the new cursor", async () => {
  const { channel, events, socket } = await opened();
  const why = [];
  channel.on("reset", (reset) => why.push(reset.why));
  events(item(1));
  socket.say({ v: 1, reset: { channel: "c", why: "too_far", cursor: "c900" } });
  const history = socket.take("history");
  assert.equal(history.history.before, "c900");
  socket.ok(history, { items: [item(900), item(899)], token: "p" });
  await settle();
  events(item(901));
  assert.deepEqual(shown(channel), ["eu.1.899 m899", "eu.1.900 m900", "eu.1.901 m901"]);
  assert.deepEqual(why, ["too_far"]);
});

test("after a reload the stream goes on from the stored cursor, and what is before it is paged", async () => {
  const storage = memoryStorage();
  const first = await opened({ storage });
  first.events(item(1), item(2));
  await first.world.pass(1_100);
  const world = new World(3);
  const client = await Client.start({ url: "ws://host", token: "t", platform: world.platform(), storage });
  const channel = client.channel("c").open();
  await settle();
  const connect = world.socket.welcome({ channels: [{ channel: "c", ok: { cursor: "c1", csn: 0, state: STATE } }] });
  assert.deepEqual(connect.connect.resume, [{ channel: "c", cursor: "c1", open: true }]);
  await settle();
  const history = world.socket.take("history");
  assert.equal(history.history.before, "c1");
  world.socket.say({ events: { channel: "c", cursor: "c2", items: [item(3)] } });
  world.socket.ok(history, { items: [item(2), item(1)], token: "p" });
  await settle();
  assert.deepEqual(shown(channel), ["eu.1.1 m1", "eu.1.2 m2", "eu.1.3 m3"]);
});

test("a server without pages is asked for the last messages instead", async () => {
  const storage = memoryStorage();
  const first = await opened({ storage });
  first.events(item(1));
  await first.world.pass(1_100);
  const world = new World(3);
  const client = await Client.start({ url: "ws://host", token: "t", platform: world.platform(), storage });
  const channel = client.channel("c").open();
  await settle();
  world.socket.welcome({ channels: [{ channel: "c", ok: { cursor: "c1", csn: 0, state: STATE } }] });
  await settle();
  world.socket.error(world.socket.take("history"), { code: "unimplemented", final: true });
  await settle();
  const frame = world.socket.take("subscribe");
  assert.deepEqual(frame.subscribe.from, { last: 50 });
  world.socket.ok(frame, { cursor: "c0", csn: 0, state: STATE });
  world.socket.say({ events: { channel: "c", cursor: "c1", items: [item(1)] } });
  assert.deepEqual(shown(channel), ["eu.1.1 m1"]);
});

test("who is removed is told, and sees nothing more", async () => {
  const { channel, client, events, socket } = await opened();
  const removed = [];
  channel.on("removed", ({ id }) => removed.push(id));
  events(item(1, { kind: "member", change: "removed", user: "ann", body: undefined }));
  socket.say({ removed: { channel: "c", id: "eu.1.1" } });
  assert.deepEqual([channel.status, channel.error.code, removed], ["gone", "removed", ["eu.1.1"]]);
  channel.open();
  assert.deepEqual(socket.take("subscribe").subscribe.from, { last: 30 });
  assert.equal(client.channel("c"), channel);
});

test("unread counts what others say after the head of the subscription, and falls when it is read", async () => {
  const { world, channel, events, socket } = await opened({ state: { unread: 2, mentions: 0, head: "eu.1.2" } });
  events(item(1), item(2));
  assert.equal(channel.unread, 2);
  events(item(3, { mentions: ["ann"] }), item(4, { from: { user: "ann", device: "other" } }), item(5, { kind: "member", change: "joined", user: "zoe" }));
  assert.deepEqual([channel.unread, channel.mentions], [3, 1]);
  channel.markRead();
  assert.deepEqual([channel.unread, channel.mentions], [0, 0]);
  await world.pass(10);
  const read = socket.take("read");
  assert.deepEqual(read.read, { channel: "c", cursor: "c2", delivered: "c2" });
  socket.ok(read, { read: { eu: "eu.1.5" }, delivered: {} });
  channel.markRead();
  await world.pass(5_000);
  assert.deepEqual(socket.all("read"), []);
  socket.say({ receipts: { channel: "c", marks: [{ user: "ann", read: { eu: "eu.1.2" } }] } });
  assert.equal(channel.unread, 0, "marks never go back");
});

test("marks are told at most every two seconds, the last of each channel", async () => {
  const { world, channel, events, socket } = await opened();
  await world.pass(3_000);
  for (let n = 1; n <= 50; n++) {
    events(item(n));
    channel.markRead();
    await world.pass(100);
  }
  await world.pass(2_000);
  const frames = socket.all("read");
  assert.ok(frames.length <= 4, `${frames.length}`);
  assert.equal(frames.at(-1).read.cursor, "c50");
});

test("a mark that had no answer is told again on the next connection", async () => {
  const { world, channel, events } = await opened();
  events(item(1));
  channel.markRead("eu.1.1");
  await world.pass(100);
  world.socket.take("read");
  world.socket.cut();
  await world.pass(1_000);
  world.socket.welcome({ channels: [{ channel: "c", ok: { cursor: "c1", csn: 0, state: STATE } }] });
  await world.pass(2_500);
  assert.equal(world.socket.take("read").read.cursor, "c1");
});

test("a channel that is not open tells what is unread", async () => {
  const { channel, socket } = await opened({ open: { events: false }, state: { unread: 4 } });
  assert.equal(channel.unread, 4);
  socket.say({ touch: { channel: "c", unread: 9, mentions: 1 } });
  assert.deepEqual([channel.unread, channel.mentions], [9, 1]);
});

test("receipts: names in small channels, counts in large ones", async () => {
  const { channel, client, events, socket } = await opened({ state: { marks: [{ user: "bob", read: { eu: "eu.1.1" }, delivered: { eu: "eu.1.2" } }] } });
  events(item(1, { from: client.own }), item(2, { from: client.own, csn: 2 }));
  const [first, second] = channel.messages;
  assert.deepEqual(channel.receipt(first), { read: 1, delivered: 1, names: ["bob"], approx: false });
  assert.deepEqual(channel.receipt(second), { read: 0, delivered: 1, names: [], approx: false });
  socket.say({ receipts: { channel: "c", counts: [{ event: "eu.1.2", read: 120, delivered: 500, names: ["bob", "eve"], approx: true }] } });
  assert.deepEqual(channel.receipt(second), { read: 120, delivered: 500, names: ["bob", "eve"], approx: true });
});

test("typing is told once in three seconds, and what is heard is forgotten after six", async () => {
  const { world, channel, events, socket } = await opened();
  for (let key = 0; key < 20; key++) {
    channel.typing();
    await world.pass(200);
  }
  assert.equal(socket.all("typing").length, 2);
  channel.typing(false);
  assert.equal(socket.take("typing").typing.on, false);
  socket.say({ typing: { channel: "c", users: ["ann", "bob", "eve"], more: 3 } });
  assert.deepEqual(channel.typists, { users: ["bob", "eve"], more: 3 });
  events(item(1));
  assert.deepEqual(channel.typists.users, ["eve"]);
  await world.pass(6_001);
  assert.deepEqual(channel.typists, { users: [], more: 0 });
});

test("presence: the last list of a moment is told, at most a hundred, and again on every connection", async () => {
  const { world, client, socket } = await opened();
  client.presence.watch(["x"]);
  client.presence.watch(Array.from({ length: 150 }, (_, at) => `u${at}`));
  await world.pass(200);
  const frame = socket.take("presence");
  assert.equal(frame.presence.watch.length, 100);
  socket.ok(frame, { there: ["u1", "u2"] });
  socket.say({ presence: { changes: [{ user: "u1", there: false }, { user: "u3", there: true }] } });
  assert.deepEqual(["u1", "u2", "u3"].map((user) => client.presence.isThere(user)), [false, true, true]);
  world.socket.cut();
  await world.pass(1_000);
  world.socket.welcome();
  await settle();
  assert.equal(world.socket.take("presence").presence.watch.length, 100);
});

test("a call rings until one of the own devices answers, and what ended meanwhile is told after a reconnect", async () => {
  const { world, client, socket } = await opened();
  const steps = [];
  client.calls.on("step", ({ call, stage }) => steps.push(`${call} ${stage}`));
  const ring = (call, more = {}) => socket.say({ call: { channel: "c", call, from: "bob", stage: "ringing", ...more } });
  ring("k1");
  ring("k2");
  assert.deepEqual(client.calls.ringing.map(({ call }) => call), ["k1", "k2"]);
  socket.say({ call: { channel: "c", call: "k1", from: "bob", stage: "stopped", user: "ann", device: "other" } });
  assert.deepEqual(client.calls.ringing.map(({ call }) => call), ["k2"]);
  const accepted = client.calls.accept("k2");
  const frame = socket.take("call.accept");
  assert.deepEqual(frame["call.accept"], { channel: "c", call: "k2" });
  socket.ok(frame, { call: { channel: "c", call: "k2", from: "bob", stage: "accepted", user: "ann", room: "r", token: "jwt" } });
  assert.deepEqual([(await accepted).room, client.calls.ringing.length], ["r", 0]);
  world.socket.cut();
  await world.pass(1_000);
  world.socket.welcome({ calls: [{ channel: "c", call: "k3", from: "eve", stage: "ringing" }] });
  assert.deepEqual(client.calls.ringing.map(({ call }) => call), ["k3"]);
  assert.deepEqual(steps, ["k1 ringing", "k2 ringing", "k1 stopped", "k2 ended"]);
});

test("the list is bounded: the oldest make room and can be paged again", async () => {
  const { channel, events } = await opened();
  for (let n = 1; n <= 6_000; n += 500) events(...Array.from({ length: 500 }, (_, at) => item(n + at)));
  assert.equal(channel.messages.length, 5_000);
  assert.equal(channel.messages[0].id, "eu.1.1001");
});

test("the id of the channel of two people is the same for both, whatever their names are", () => {
  assert.equal(directId("bob", "ann"), "direct:ann:bob");
  assert.equal(directId("a:b%", "z\n"), "direct:a%3Ab%25:z%0A");
  assert.equal(directId("\u{1F600}", "\uFFFD"), "direct:\uFFFD:\u{1F600}", "by bytes, not by UTF-16");
});
