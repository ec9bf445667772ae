import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, memoryStorage } from "../dist/index.js";
import { item, settle, STATE, World } from "./lib/world.mjs";

async function opened({ world = new World(), storage, csn = 0, state = {} } = {}) {
  const client = await Client.start({ url: "ws://host", token: "t", platform: world.platform(), storage });
  await settle();
  world.socket.welcome();
  const channel = client.channel("c").open();
  await settle();
  world.socket.ok(world.socket.take("subscribe"), { cursor: "c0", csn, state: { ...STATE, ...state } });
  await settle();
  return { world, client, channel, socket: world.socket };
}

/** Reconnects; the channel is resumed with the last number that the server accepted. */
async function again({ world }, csn, cursor = "c0") {
  world.socket.cut();
  await world.pass(1_000);
  const connect = world.socket.welcome({ channels: [{ channel: "c", ok: { cursor, csn, state: STATE } }] });
  await settle();
  return connect;
}

const numbers = (frames) => frames.map(({ send }) => [send.csn, send.follows]);
const texts = (channel) => channel.messages.map(({ body, status }) => `${body} ${status}`);

test("sends are numbered from the last accepted, each follows the one before, and all leave at once", async () => {
  const { channel, socket } = await opened({ csn: 4 });
  for (const text of ["a", "b", "c"]) channel.send(text);
  const frames = socket.all("send");
  assert.deepEqual(numbers(frames), [[5, 4], [6, 5], [7, 6]]);
  assert.deepEqual(frames.map(({ send }) => send.body), ["a", "b", "c"]);
});

test("a message is in the list at once, and once, whether the answer or the stream comes first", async () => {
  for (const streamFirst of [true, false]) {
    const { client, channel, socket } = await opened();
    const sent = channel.send("hello");
    assert.deepEqual(texts(channel), ["hello sending"]);
    const { key } = channel.messages[0];
    const frame = socket.take("send");
    const ok = () => socket.ok(frame, { event: "eu.1.1", token: "t1" });
    const events = () => socket.say({ events: { channel: "c", cursor: "c1", items: [item(1, { from: client.own, csn: 1, body: "hello" })] } });
    for (const step of streamFirst ? [events, ok] : [ok, events]) {
      step();
      assert.deepEqual(texts(channel), ["hello sent"]);
      assert.equal(channel.messages[0].key, key);
    }
    assert.deepEqual(await sent.done, { is: "accepted", event: "eu.1.1" });
  }
});

test("what had no answer is sent again with its number on the next connection, in order", async () => {
  const all = await opened();
  const { channel, world } = all;
  const outcomes = ["a", "b"].map((text) => channel.send(text).done);
  const first = world.socket.all("send");
  world.socket.ok(first[0], { event: "eu.1.1", token: "t1" });
  channel.send("c");
  world.socket.cut();
  channel.send("d");
  await world.pass(1_000);
  // The answer to b was lost on its way: the server has accepted 2.
  world.socket.welcome({ channels: [{ channel: "c", ok: { cursor: "c0", csn: 2, state: STATE } }] });
  await settle();
  const frames = world.socket.all("send");
  assert.deepEqual(numbers(frames), [[2, 1], [3, 2], [4, 3]]);
  assert.equal(frames[0].send.body, "b");
  world.socket.ok(frames[0], { event: "eu.1.2", token: "t2" });
  assert.deepEqual((await Promise.all(outcomes)).map(({ event }) => event), ["eu.1.1", "eu.1.2"]);
});

test("after a final refusal the next send follows the last accepted one, and what was on its way is sent again", async () => {
  const { channel, socket } = await opened();
  const outcomes = ["a", "too long", "c"].map((text) => channel.send(text).done);
  const [a, b, c] = socket.all("send");
  socket.ok(a, { event: "eu.1.1", token: "t" });
  socket.error(b, { code: "too_large", reason: "32 KiB", final: true });
  socket.error(c, { code: "csn_gap", last: 1, final: true });
  const [retry] = socket.all("send");
  assert.deepEqual(numbers([retry]), [[3, 1]]);
  socket.ok(retry, { event: "eu.1.2", token: "t" });
  assert.deepEqual((await Promise.all(outcomes)).map(({ is }) => is), ["accepted", "refused", "accepted"]);
  assert.deepEqual(texts(channel), ["a sent", "too long refused", "c sent"]);
});

test("a temporary refusal holds everything behind it until its time, then order is as it was", async () => {
  const { world, channel, socket } = await opened();
  for (const text of ["a", "b", "c"]) channel.send(text);
  const [a, b, c] = socket.all("send");
  socket.error(a, { code: "slow_mode", final: false, retry_after: 1_500 });
  socket.error(b, { code: "csn_gap", last: 0, final: true });
  socket.error(c, { code: "csn_gap", last: 0, final: true });
  channel.send("d");
  await world.pass(1_499);
  assert.deepEqual(socket.all("send"), []);
  await world.pass(2);
  assert.deepEqual(numbers(socket.all("send")), [[1, 0], [2, 1], [3, 2], [4, 3]]);
});

test("the region that one fell over to has accepted less: what is not acknowledged follows what it names", async () => {
  const all = await opened({ csn: 7 });
  all.channel.send("x");
  await again(all, 5);
  const [retry] = all.world.socket.all("send");
  assert.deepEqual(numbers([retry]), [[8, 5]]);
  all.world.socket.error(retry, { code: "csn_gap", last: 4, final: true });
  assert.deepEqual(numbers(all.world.socket.all("send")), [[8, 4]]);
});

test("at most 64 sends are on their way, and the rest leaves as answers come", async () => {
  const { channel, socket } = await opened();
  for (let at = 0; at < 300; at++) channel.send(`${at}`);
  const got = [];
  for (let frames = socket.all("send"); frames.length > 0; frames = socket.all("send")) {
    assert.ok(frames.length <= 64);
    got.push(...frames);
    for (const frame of frames) socket.ok(frame, { event: `eu.1.${frame.send.csn}`, token: "t" });
  }
  assert.deepEqual(got.map(({ send }) => send.csn), Array.from({ length: 300 }, (_, at) => at + 1));
});

test("a refusal of a send of which a copy had no answer is `unknown`, until a later one is accepted in the same region", async () => {
  const all = await opened();
  const { channel, world } = all;
  const told = [];
  channel.on("sent", ({ entry, outcome }) => told.push([entry.csn, outcome.is]));
  channel.send("first");
  world.socket.ok(world.socket.take("send"), { event: "eu.1.1", token: "t" });
  const lost = channel.send("lost");
  await again(all, 1);
  world.socket.error(world.socket.take("send"), { code: "muted", final: true });
  assert.equal((await lost.done).is, "unknown");
  assert.deepEqual(texts(channel), ["first sent", "lost unknown"]);
  channel.send("third");
  const third = world.socket.take("send");
  assert.deepEqual([third.send.csn, third.send.follows], [3, 1]);
  world.socket.ok(third, { event: "us.1.9", token: "t" });
  assert.deepEqual(told, [[1, "accepted"], [2, "unknown"], [3, "accepted"]]);
  channel.send("fourth");
  world.socket.ok(world.socket.take("send"), { event: "eu.1.2", token: "t" });
  assert.deepEqual(told.slice(3), [[2, "refused"], [4, "accepted"]]);
  assert.deepEqual(texts(channel), ["first sent", "lost refused", "third sent", "fourth sent"]);
});

test("an unknown send that the stream brings after all was accepted", async () => {
  const all = await opened();
  const { channel, client, world } = all;
  channel.send("lost");
  await again(all, 0);
  world.socket.error(world.socket.take("send"), { code: "muted", final: true });
  world.socket.say({ events: { channel: "c", cursor: "c1", items: [item(1, { from: client.own, csn: 1, body: "lost" })] } });
  assert.deepEqual(texts(channel), ["lost sent"]);
});

test("a send is given up after seven days", async () => {
  const world = new World();
  const client = await Client.start({ url: "ws://host", token: "t", platform: world.platform() });
  await settle();
  world.socket.welcome();
  const { done } = client.channel("c").send("old");
  const outcomes = [];
  void done.then(({ is, error }) => outcomes.push(is, error.code));
  world.socket.cut();
  world.time += 7 * 86_400_000;
  await world.pass(20_000);
  world.socket.welcome();
  await settle();
  assert.deepEqual(world.socket.all("send"), []);
  assert.deepEqual(outcomes, ["unknown", "expired"]);
});

test("what names an own message that has no id yet waits for its answer, and nothing overtakes it", async () => {
  const { channel, socket } = await opened();
  channel.send("helo");
  const local = channel.messages[0];
  channel.edit(local, "hello");
  channel.react(local, "+1");
  channel.send("next", { replyTo: local });
  assert.deepEqual([channel.messages[0].body, channel.messages[0].edited], ["hello", true]);
  assert.deepEqual(channel.messages[0].totals, [{ emoji: "+1", count: 1, mine: true }]);
  const [send] = socket.inbox.splice(0);
  assert.deepEqual(socket.inbox, []);
  socket.ok(send, { event: "eu.1.1", token: "t" });
  const [edit, react, reply] = socket.inbox.splice(0);
  assert.deepEqual([edit.edit.event, edit.edit.csn, react.react.event, reply.send.reply_to, reply.send.csn], ["eu.1.1", 2, "eu.1.1", "eu.1.1", 4]);
});

test("what names an own message that was refused is refused too, and the rest goes on", async () => {
  const { channel, socket } = await opened();
  channel.send("bad");
  const edit = channel.edit(channel.messages[0], "better");
  channel.send("good");
  socket.error(socket.take("send"), { code: "too_large", final: true });
  assert.equal((await edit.done).error.code, "no_target");
  assert.deepEqual(numbers(socket.all("send")), [[3, 0]]);
});

test("a refused message can be taken away, or sent once more", async () => {
  const { channel, socket } = await opened();
  const refuse = async () => {
    socket.error(socket.take("send"), { code: "muted", final: true });
    await settle();
  };
  channel.send("x");
  await refuse();
  channel.resend(channel.messages[0]);
  assert.deepEqual(texts(channel), ["x sending"]);
  await refuse();
  channel.discard(channel.messages[0]);
  assert.deepEqual(texts(channel), []);
});

test("tokens of answers are presented with the next send, and the answer's replaces them; after a reconnect the last cursor too", async () => {
  const all = await opened();
  const { channel, world } = all;
  const send = (text) => {
    channel.send(text);
    return world.socket.take("send");
  };
  const first = send("a");
  assert.equal(first.send.seen, undefined);
  world.socket.ok(first, { event: "eu.1.1", token: "A" });
  const second = send("b");
  assert.deepEqual(second.send.seen, ["A"]);
  world.socket.ok(second, { event: "eu.1.2", token: "B" });
  const page = channel.older();
  const history = world.socket.take("history");
  assert.deepEqual(history.history.seen, ["B"]);
  world.socket.ok(history, { items: [], token: "P" });
  await page;
  world.socket.say({ events: { channel: "c", cursor: "c9", items: [] } });
  await again(all, 2, "c9");
  const third = send("c");
  assert.deepEqual(third.send.seen, ["c9", "B", "P"]);
  world.socket.ok(third, { event: "eu.1.3", token: "C" });
  assert.deepEqual(send("d").send.seen, ["C"]);
});

test("never more than eight tokens are presented", async () => {
  const { channel, world, socket } = await opened();
  for (let at = 0; at < 20; at++) {
    channel.atStart = false;
    const page = channel.older();
    const history = socket.take("history");
    assert.ok((history.history.seen ?? []).length <= 8);
    socket.ok(history, { items: [item(100 - at)], token: `P${at}` });
    await page;
  }
  channel.send("x");
  assert.ok(world.socket.take("send").send.seen.length <= 8);
});

test("`after` names the channels that moved last, at most eight, and stays as it was when sent again", async () => {
  const { client, channel, world } = await opened();
  for (let at = 1; at <= 10; at++) {
    client.channel(`o${at}`).open();
    world.socket.ok(world.socket.take("subscribe"), { cursor: `o${at}@0`, csn: 0, state: STATE });
  }
  for (const at of [3, 1, 2, 4, 5, 6, 7, 8, 9, 3]) world.socket.say({ events: { channel: `o${at}`, cursor: `o${at}@1`, items: [] } });
  channel.send("x", { after: true });
  channel.send("y");
  const [x, y] = world.socket.all("send");
  assert.deepEqual(x.send.after, [3, 9, 8, 7, 6, 5, 4, 2].map((at) => [`o${at}`, `o${at}@1`]));
  assert.equal(y.send.after, undefined);
});

test("sends without an answer survive a reload with their numbers, and are sent without being asked for", async () => {
  const storage = memoryStorage();
  const first = await opened({ storage });
  first.channel.send("a");
  first.world.socket.ok(first.world.socket.take("send"), { event: "eu.1.1", token: "t" });
  first.channel.send("b");
  first.channel.edit(first.channel.messages[1], "B");
  first.world.sockets.length = 0;
  // The page is gone without a word.
  const world = new World(5);
  const client = await Client.start({ url: "ws://host", token: "t", platform: world.platform(), storage });
  await settle();
  world.socket.welcome();
  await settle();
  const [send] = world.socket.all("send");
  assert.deepEqual([send.send.csn, send.send.follows, send.send.body], [2, 1, "b"]);
  world.socket.ok(send, { event: "eu.1.2", token: "t" });
  assert.deepEqual([world.socket.inbox[0].edit.csn, world.socket.inbox[0].edit.event], [3, "eu.1.2"]);
  client.channel("c").send("c");
  assert.equal(world.socket.take("send").send.csn, 4);
});

test("numbers that an older storage has used before are replaced by new ones", async () => {
  const { channel, socket } = await opened();
  for (const text of ["a", "b"]) channel.send(text);
  const [a, b] = socket.all("send");
  socket.error(a, { code: "csn_conflict", final: true });
  socket.error(b, { code: "csn_conflict", final: true });
  const frames = socket.all("send");
  assert.deepEqual(frames.map(({ send }) => send.body), ["a", "b"]);
  assert.ok(frames[0].send.csn > 2 && frames[1].send.csn > frames[0].send.csn);
});
