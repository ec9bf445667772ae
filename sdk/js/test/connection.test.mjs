import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, memoryStorage } from "../dist/index.js";
import { settle, World } from "./lib/world.mjs";

async function started(options = {}) {
  const world = options.world ?? new World();
  const client = await Client.start({ url: "ws://host", token: "secret", platform: world.platform(), ...options });
  const problems = [];
  const ends = [];
  client.on("problem", (problem) => problems.push(problem.what));
  client.on("end", ({ reason }) => ends.push(reason));
  await settle();
  return { world, client, problems, ends };
}

async function connected(options) {
  const all = await started(options);
  const connect = all.world.socket.welcome();
  await settle();
  return { ...all, connect };
}

test("the first frame is `connect`, with token and device, on the path and subprotocol of the protocol", async () => {
  const { world, client, connect } = await connected({ url: "https://host:1234/" });
  assert.equal(world.socket.url, "wss://host:1234/m/v1");
  assert.equal(world.socket.subprotocol, "stoa.v1.json");
  assert.deepEqual(connect, { v: 1, id: 1, connect: { token: "secret", device: client.own.device, resume: [] } });
  assert.equal(client.user, "ann");
  assert.equal(client.state, "connected");
});

test("who waits for a connection is told when there is one, and when there will be none", async () => {
  const { world, client } = await started();
  const ready = client.ready();
  world.socket.welcome();
  await ready;
  const other = await started();
  const never = assert.rejects(other.client.ready(), /closed/);
  other.world.socket.accept();
  other.world.socket.cut(4501, "no");
  await never;
});

for (const code of [1006, 1001, 1011, 4000, 4001, 4002, 4003]) {
  test(`a connection that is closed with ${code} is opened again`, async () => {
    const { world, client, ends } = await connected();
    world.socket.cut(code);
    assert.equal(client.state, "waiting");
    await world.pass(400);
    assert.equal(world.sockets.length, 2);
    world.socket.welcome();
    assert.equal(client.state, "connected");
    assert.deepEqual(ends, []);
  });
}

for (const [code, reason] of [[4500, "replaced"], [4501, "unauthorized"], [4502, "bad_frame"], [4503, "version"], [4504, "too_many_errors"], [4999, "refused"]]) {
  test(`a connection that is closed with ${code} stays closed: ${reason}`, async () => {
    const { world, client, ends } = await connected();
    const history = client.request("history", { channel: "c" });
    world.socket.cut(code, "because");
    await assert.rejects(history, { code: "closed" });
    await world.pass(600_000);
    assert.equal(world.sockets.length, 1);
    assert.deepEqual(ends, [reason]);
    assert.equal(client.ended, reason);
  });
}

test("pauses grow to thirty seconds while nobody answers, and are the shortest again after a good connection", async () => {
  const { world } = await started();
  const gaps = [];
  let last = world.time;
  for (let attempt = 0; attempt < 10; attempt++) {
    world.socket.cut(1006);
    const count = world.sockets.length;
    while (world.sockets.length === count) await world.pass(50);
    gaps.push(world.time - last);
    last = world.time;
  }
  assert.ok(gaps[0] <= 450 && gaps[9] > 14_000 && gaps[9] <= 30_050, `${gaps}`);
  world.socket.welcome();
  await world.pass(13_000);
  world.socket.cut(1006);
  const count = world.sockets.length;
  await world.pass(400);
  assert.equal(world.sockets.length, count + 1);
});

test("clients that lose the same server come back at different times", async () => {
  const times = new Set();
  for (let seed = 1; seed <= 20; seed++) {
    const { world } = await connected({ world: new World(seed) });
    world.socket.cut(1006);
    const from = world.time;
    while (world.sockets.length === 1) await world.pass(1);
    times.add(world.time - from);
  }
  assert.ok(times.size > 12, `${times.size} different times`);
});

test("after `goaway` it comes back when it was told to, and not before", async () => {
  const { world, client } = await connected();
  world.socket.say({ v: 1, goaway: { why: "drain", retry_after: 5_000 } });
  assert.ok(world.socket.isClosed);
  assert.equal(client.state, "waiting");
  await world.pass(4_990);
  assert.equal(world.sockets.length, 1);
  await world.pass(3_000);
  assert.equal(world.sockets.length, 2);
});

test("a socket that never opens, or is never welcomed, is given up", async () => {
  const { world, problems } = await started();
  await world.pass(16_000);
  assert.equal(world.sockets.length, 2);
  assert.ok(world.sockets[0].isClosed);
  assert.deepEqual(problems, ["connect"]);
});

test("a request that has no answer for twenty seconds means that the connection is dead", async () => {
  const { world, client } = await connected();
  const answer = client.request("members", { channel: "c" });
  await world.pass(24_000);
  assert.equal(world.sockets.length, 2);
  world.socket.welcome();
  await settle();
  world.socket.ok(world.socket.take("members"), { members: [] });
  assert.deepEqual(await answer, { members: [] });
});

test("a silent connection is asked for a sign of life, and left when there is none", async () => {
  const { world } = await connected();
  await world.pass(53_000);
  const sign = world.socket.take("presence");
  world.socket.ok(sign, { there: [] });
  await world.pass(20_000);
  assert.equal(world.sockets.length, 1);
  await world.pass(45_000);
  assert.equal(world.sockets.length, 2);
});

test("when the page is shown again a dead connection is found within seconds", async () => {
  const { world, client } = await connected();
  await world.pass(1_000);
  client.wake();
  await world.pass(5_900);
  assert.equal(world.sockets.length, 2);
});

test("a token is asked for before every connection; a provider that fails is asked again", async () => {
  let asked = 0;
  const token = async () => {
    if (++asked === 2) throw new Error("no network");
    return `token-${asked}`;
  };
  const { world, problems } = await connected({ token });
  world.socket.cut(4003, "expired");
  await world.pass(3_000);
  assert.equal(asked, 3);
  assert.deepEqual(problems, ["token"]);
  world.socket.accept();
  assert.equal(world.socket.take("connect").connect.token, "token-3");
});

test("a refused token is renewed once; one that cannot be renewed is the end", async () => {
  const renewing = await started({ token: () => "same" });
  for (let round = 0; round < 2; round++) {
    renewing.world.socket.accept();
    renewing.world.socket.error(renewing.world.socket.take("connect"), { code: "expired", final: true });
    await renewing.world.pass(2_000);
  }
  assert.deepEqual(renewing.ends, ["expired"]);
  assert.equal(renewing.world.sockets.length, 2);
  const fixed = await started();
  fixed.world.socket.accept();
  fixed.world.socket.error(fixed.world.socket.take("connect"), { code: "unauthorized", final: true });
  assert.deepEqual(fixed.ends, ["unauthorized"]);
});

test("a busy server is asked again after the time that it names", async () => {
  const { world, ends } = await started();
  world.socket.accept();
  world.socket.error(world.socket.take("connect"), { code: "busy", final: false, retry_after: 7_000 });
  await world.pass(6_900);
  assert.equal(world.sockets.length, 1);
  await world.pass(4_000);
  assert.equal(world.sockets.length, 2);
  assert.deepEqual(ends, []);
});

test("frames that are none are told as problems, and what comes after is heard", async () => {
  const { world, client, problems } = await connected();
  const bad = [
    "", "{", "[]", "null", "7", '{"v":2,"events":{}}', '{"v":"x"}', '{"events":7}', '{"events":{"channel":"c","cursor":"x","items":[7]}}',
    '{"events":{"channel":7,"cursor":"x","items":[]}}', '{"id":"x","ok":{}}', '{"id":1,"error":{}}', '{"presence":{"changes":{}}}', '{"goaway":[]}',
  ];
  for (const frame of bad) world.socket.say(frame);
  assert.deepEqual(problems, bad.map(() => "bad_frame"));
  world.socket.say({ v: 1, news: {} });
  world.socket.say({ id: 999, ok: {} });
  world.socket.say({ __proto__: null, toString: {} });
  assert.deepEqual(problems.slice(bad.length), ["unknown_push", "unknown_push"]);
  world.socket.say({ v: 1, presence: { changes: [{ user: "bob", there: true }] } });
  assert.ok(client.presence.isThere("bob"));
});

test("what is longer than the server takes is refused here, since the server would close the connection", async () => {
  const { world, client } = await connected();
  const { done } = client.channel("c").send("ü".repeat(40_000));
  assert.equal((await done).error.code, "too_large");
  assert.equal(world.socket.isClosed, false);
});

test("requests outlive the connection, and are refused with the server's words", async () => {
  const { world, client } = await connected();
  const members = client.request("members", { channel: "c" });
  const search = assert.rejects(client.request("search", { query: "x" }), { code: "forbidden", message: "forbidden: not yours" });
  world.socket.cut();
  await world.pass(500);
  world.socket.welcome();
  await settle();
  world.socket.error(world.socket.take("search"), { code: "forbidden", reason: "not yours", final: true });
  world.socket.error(world.socket.take("members"), { code: "busy", final: false, retry_after: 700 });
  await search;
  await world.pass(699);
  assert.deepEqual(world.socket.all("members"), []);
  await world.pass(2);
  world.socket.ok(world.socket.take("members"), { members: [{ user: "ann", role: "owner" }] });
  assert.equal((await members).members.length, 1);
});

test("a request without any connection ends after a minute", async () => {
  const { world, client } = await started();
  const late = assert.rejects(client.request("members", { channel: "c" }), { code: "timeout", final: false });
  for (let second = 0; second < 61; second++) {
    if (!world.socket.isClosed) world.socket.cut();
    await world.pass(1_000);
  }
  await late;
});

test("the device is the same after a reload, and a new one after three weeks without use", async () => {
  const storage = memoryStorage();
  const first = await connected({ storage });
  const device = first.client.own.device;
  first.client.close();
  const world = new World(7);
  world.time = first.world.time + 20 * 86_400_000;
  const second = await connected({ storage, world });
  assert.equal(second.client.own.device, device);
  second.client.close();
  const later = new World(8);
  later.time = world.time + 22 * 86_400_000;
  later.platform().id();
  const third = await connected({ storage, world: later });
  assert.notEqual(third.client.own.device, device);
});

test("what another person left in the storage is not sent in one's own name", async () => {
  const storage = memoryStorage();
  const first = await started({ storage });
  first.world.socket.welcome();
  first.client.channel("c").send("mine");
  first.client.close();
  const second = await started({ storage, world: new World(9) });
  const old = second.client.own.device;
  second.client.channel("c");
  second.world.socket.welcome({ user: "bob" });
  await second.world.pass(1_000);
  const connect = second.world.socket.welcome({ user: "bob" });
  await settle();
  assert.notEqual(connect.connect.device, old);
  assert.deepEqual(second.world.sockets.flatMap((socket) => socket.all("send")), []);
  assert.equal(second.client.user, "bob");
});

test("a storage that is broken is told, and stops nothing", async () => {
  const storage = { load: () => Promise.reject(new Error("denied")), save: () => { throw new Error("full"); } };
  const world = new World();
  const client = await Client.start({ url: "ws://host", token: "t", platform: world.platform(), storage });
  await settle();
  world.socket.welcome();
  assert.equal(client.state, "connected");
  const nonsense = { load: () => ({ device: "{", "channel/c": "[]", "channel/d": '{"outbox":{"entries":[7]}}' }), save: () => {} };
  const other = new World();
  await Client.start({ url: "ws://host", token: "t", platform: other.platform(), storage: nonsense });
  await settle();
  other.socket.welcome();
});
