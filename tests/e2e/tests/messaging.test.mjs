// The JavaScript client of messaging against the running server: order, reload, and a server that is killed meanwhile.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import WebSocket from "ws";
import { REPOSITORY as ROOT } from "../lib/paths.mjs";
import { freeTcpPort, startServer } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

const { Client, memoryStorage } = await import(pathToFileURL(join(ROOT, "sdk/js/dist/index.js")));

let directory;
let port;
let server;
const clients = [];

before(async () => {
  directory = await mkdtemp(join(tmpdir(), "stoa-messaging-"));
  port = await freeTcpPort();
  server = await start();
});

after(async () => {
  for (const client of clients) client.close();
  await server?.stop();
  await rm(directory, { recursive: true, force: true });
});

/** A server on the same port and the same data as before. */
function start() {
  return startServer("messaging", { workers: 1, args: ["--data", directory], port });
}

async function signedIn(user, { encoding = "json", storage } = {}) {
  const token = async () => (await tokenFor(user));
  const client = await Client.start({ url: server.url, token, encoding, storage, webSocket: WebSocket });
  clients.push(client);
  await client.ready();
  const problems = [];
  client.on("problem", (problem) => problems.push(`${problem.what}: ${problem.reason}`));
  return Object.assign(client, { problems });
}

async function tokenFor(identity) {
  const body = JSON.stringify({ room: "messages", name: identity, identity });
  const response = await fetch(`${server.url}/api/token`, { method: "POST", headers: { "content-type": "application/json" }, body });
  return (await response.json()).token;
}

const texts = (channel) => channel.messages.filter(({ kind, status }) => kind === "message" && status === "sent").map(({ body }) => body.text);

test("messaging: two people write, edit, react and delete, and see the same, over both encodings", async () => {
  const ann = await signedIn("ann");
  const bob = await signedIn("bob", { encoding: "cbor" });
  const hers = (await ann.direct("bob")).open();
  const his = (await bob.direct("ann")).open();
  assert.equal(hers.id, his.id);
  await until("both to have it open", () => hers.status === "open" && his.status === "open");
  const { done } = hers.send({ text: "helo" });
  hers.edit(hers.messages.at(-1), { text: "hello" });
  assert.equal((await done).is, "accepted");
  await until("bob to see the edit", () => texts(his), (all) => all.join() === "hello");
  his.send({ text: "hi" }, { replyTo: his.messages.find(({ kind }) => kind === "message") });
  his.react(his.messages.find(({ kind }) => kind === "message"), "👍");
  await until("ann to see the reaction", () => hers.messages.flatMap(({ totals }) => totals), (totals) => totals.length === 1);
  assert.deepEqual(hers.messages.flatMap(({ totals }) => totals), [{ emoji: "👍", count: 1, mine: false }]);
  assert.equal(hers.messages.at(-1).replyTo, hers.messages.find(({ kind }) => kind === "message").id);
  hers.delete(hers.messages.find(({ kind }) => kind === "message"));
  await until("bob to see it gone", () => his.messages.filter(({ deleted }) => deleted), (gone) => gone.length === 1);
  assert.deepEqual(hers.messages.map(({ id, deleted }) => [id, deleted]), his.messages.map(({ id, deleted }) => [id, deleted]));
  assert.deepEqual([...ann.problems, ...bob.problems], []);
});

test("messaging: marks reach the other side, and the unread count falls", async () => {
  const ann = await signedIn("ann");
  const cleo = await signedIn("cleo");
  const hers = (await ann.direct("cleo")).open();
  const other = (await cleo.direct("ann")).open();
  await until("both to have it open", () => hers.status === "open" && other.status === "open");
  await hers.send({ text: "read me" }).done;
  await until("cleo to have one unread", () => other.unread, (unread) => unread === 1);
  other.markRead();
  const mine = () => hers.messages.find(({ kind }) => kind === "message");
  await until("ann to see it read", () => hers.receipt(mine()), ({ read }) => read === 1);
  assert.equal(other.unread, 0);
});

test("messaging: a page that is reloaded goes on where it was, with what it had not sent", async () => {
  const storage = memoryStorage();
  const before = await signedIn("dora", { storage });
  const channel = (await before.direct("ann")).open();
  await until("it to be open", () => channel.status === "open");
  await channel.send({ text: "one" }).done;
  await until("the stream to bring it", () => channel.messages.some(({ item }) => item?.kind === "message"));
  // The page goes without a word, with a send that never left.
  await new Promise((resolve) => setTimeout(resolve, 1_200));
  before.close();
  channel.send({ text: "two" });
  const again = await signedIn("dora", { storage });
  assert.equal(again.own.device, before.own.device);
  const reopened = again.channel(channel.id).open();
  await until("both to be there", () => texts(reopened), (all) => all.join() === "one,two");
});

test("messaging: a server that is killed five times loses nothing, doubles nothing and keeps the order", async () => {
  const people = await Promise.all(["eve", "finn", "gus"].map((user) => signedIn(user)));
  const [eve] = people;
  await eve.create("team", { kind: "group", members: [{ user: "finn" }, { user: "gus" }] });
  const channels = people.map((client) => client.channel("team").open());
  await until("all to have it open", () => channels.every(({ status }) => status === "open"));
  const resets = [];
  for (const channel of channels) channel.on("reset", ({ why }) => resets.push(why));

  const sent = [];
  const outcomes = [];
  let going = true;
  const talking = channels.map(async (channel, who) => {
    for (let n = 0; going; n++) {
      const text = `${who} ${n}`;
      sent.push(text);
      outcomes.push(channel.send({ text }).done);
      await new Promise((resolve) => setTimeout(resolve, 10 + Math.random() * 40));
    }
  });
  for (let kill = 0; kill < 5; kill++) {
    await new Promise((resolve) => setTimeout(resolve, 500 + Math.random() * 700));
    await server.kill();
    server = await start();
  }
  going = false;
  await Promise.all(talking);
  assert.deepEqual([...new Set((await Promise.all(outcomes)).map(({ is }) => is))], ["accepted"]);
  for (const channel of channels) {
    await until("everything to have come", () => texts(channel).length, (count) => count >= sent.length);
    while (!channel.atStart && (await channel.older(100)) > 0);
    assert.deepEqual([...texts(channel)].sort(), [...sent].sort(), "each message once");
    for (const who of [0, 1, 2]) {
      const own = texts(channel).filter((text) => text.startsWith(`${who} `)).map((text) => Number(text.split(" ")[1]));
      assert.deepEqual(own, [...own].sort((a, b) => a - b), `what ${who} said is in order`);
    }
    assert.deepEqual(texts(channel), texts(channels[0]));
  }
  assert.deepEqual(resets, []);
  assert.deepEqual(people.flatMap(({ problems }) => problems).filter((problem) => !/^(connect|token)/.test(problem)), []);
});

test("messaging: the example of the guide runs as it is written", async () => {
  const guide = await readFile(join(ROOT, "docs/sdk-js.md"), "utf8");
  const [, code] = /```js\n(.*?)```/s.exec(guide);
  const shown = [];
  const run = new Function("Client", "webStorage", "sessionStorage", "fetch", "show", `return (async () => {${code.replace(/^import .*$/m, "")}; return client; })()`);
  const here = { start: (options) => Client.start({ ...options, url: server.url, webSocket: WebSocket }) };
  const token = await tokenFor("guide");
  const client = await run(here, () => memoryStorage(), undefined, async () => ({ text: async () => token }), (messages) => shown.push(messages));
  clients.push(client);
  await until("the message to be sent", () => shown.at(-1)?.some(({ body, status }) => body === "Hello Bob" && status === "sent"));
});
