// Clients against a server of a hundred lines, while connections break by seed: what must hold holds whatever happens when.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, memoryStorage } from "../dist/index.js";
import { Server } from "./lib/server.mjs";
import { settle, World } from "./lib/world.mjs";

const SEEDS = Number(process.env.SEEDS || 60);
const LIMIT = 30;

async function person(world, user, storage) {
  const client = await Client.start({ url: "ws://host", token: user, platform: world.platform(), storage });
  const problems = [];
  client.on("problem", ({ what }) => problems.push(what));
  return { user, storage, client, channel: client.channel("c").open(), problems };
}

/** One run: three people write, edit and delete; connections and servers break, pages are reloaded, sends are refused. */
async function storm(seed) {
  const world = new World(seed);
  const server = new Server(world);
  world.onSocket = (socket) => server.serve(socket);
  server.trouble = ({ body }) => {
    if (world.below(12) === 0) return { code: "busy", final: false, retry_after: world.below(300) };
    return String(body).startsWith("bad") ? { code: "forbidden", final: true } : undefined;
  };
  const people = await Promise.all(["ann", "bob", "eve"].map((user) => person(world, user, memoryStorage())));
  const sent = [];
  for (let step = 0; step < 120; step++) {
    await world.pass(world.below(80));
    const who = people[world.below(people.length)];
    const dice = world.below(100);
    if (dice < 60) act(world, who, sent, step);
    else if (dice < 72) world.sockets.at(-1 - world.below(Math.min(3, world.sockets.length)))?.cut();
    else if (dice < 75) server.cut();
    else if (dice < 80) Object.assign(who, await reload(world, who));
    else if (dice < 84) void who.channel.older(5).catch(() => {});
  }
  server.trouble = ({ body }) => (String(body).startsWith("bad") ? { code: "forbidden", final: true } : undefined);
  for (let round = 0; round < 60 && people.some(({ channel }) => channel.isWaiting || channel.status !== "open"); round++) await world.pass(5_000);
  await world.pass(5_000);
  return { world, server, people, sent };
}

function act(world, { user, channel }, sent, step) {
  const own = channel.messages.filter(({ from, deleted, status }) => from?.user === user && !deleted && status !== "refused" && status !== "unknown");
  const target = own[world.below(own.length)];
  const dice = world.below(10);
  if (dice < 2 && target) channel.edit(target, `${target.body}!`);
  else if (dice < 3 && target) channel.delete(target);
  else {
    const text = `${dice < 4 ? "bad" : "say"} ${user} ${step}`;
    sent.push(text);
    channel.send(text);
  }
}

/** The page is gone without a word, and opened again. */
async function reload(world, { user, storage, client }) {
  client.close();
  await settle();
  return person(world, user, storage);
}


test(`nothing is lost, doubled or out of order over ${SEEDS} storms of broken connections, reloads and refusals`, async () => {
  const seen = { refused: 0, resent: 0, messages: 0 };
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { world, server, people, sent } = await storm(seed);
    const say = (what) => `seed ${seed}: ${what}`;
    const { log } = server.channel("c");
    const stored = log.filter(({ kind }) => kind === "message");
    const bodies = stored.map(({ body }) => body);
    assert.deepEqual([...bodies].sort(), sent.filter((text) => text.startsWith("say")).sort(), say("each message is stored once"));
    for (const { user, channel, problems } of people) {
      assert.equal(channel.status, "open", say(`${user} is connected`));
      for (let page = 0; page < LIMIT && !channel.atStart; page++) {
        void channel.older(50).catch(() => {});
        await world.pass(3_000);
      }
      const own = bodies.filter((body) => body.split(" ")[1] === user).map((body) => Number(body.split(" ")[2]));
      assert.deepEqual(own, [...own].sort((a, b) => a - b), say(`${user}'s messages are in their order`));
      const shown = channel.messages.filter(({ status }) => status === "sent");
      assert.deepEqual(shown.map(({ id }) => id), stored.map(({ id }) => id), say(`${user} sees all, in order`));
      assert.deepEqual(shown.map(({ body, deleted }) => [body, deleted]), stored.map((item) => final(log, item)), say(`${user} sees what became of it`));
      assert.ok(!problems.includes("gap") && !problems.includes("bad_frame"), say(`${problems}`));
      seen.refused += channel.messages.filter(({ status }) => status === "refused" || status === "unknown").length;
    }
    seen.messages += stored.length;
    seen.resent += world.sockets.length;
  }
  assert.ok(seen.refused > 0 && seen.messages > SEEDS * 20 && seen.resent > SEEDS * 5, JSON.stringify(seen));
});

function final(log, { id, body }) {
  const deleted = log.some(({ kind, target }) => kind === "delete" && target === id);
  const edit = log.findLast(({ kind, target }) => kind === "edit" && target === id);
  return [deleted ? undefined : edit ? edit.body : body, deleted];
}
