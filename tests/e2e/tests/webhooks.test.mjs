// Webhooks as the stock server SDK verifies them; a receiver that is away, and a server that is killed meanwhile.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { WebhookReceiver } from "livekit-server-sdk";
import { makeReceiver } from "../lib/receiver.mjs";
import { startServer } from "../lib/server.mjs";
import { openSignal } from "../lib/signal.mjs";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

let receiver;
let data;

before(async () => {
  receiver = await makeReceiver();
  data = mkdtempSync(join(tmpdir(), "stoa-webhooks-"));
});

after(async () => {
  await receiver?.close();
  if (data) rmSync(data, { recursive: true, force: true });
});

const args = () => ["--webhook", receiver.url, "--data", data];

const names = (room) => receiver.of(room).map(({ event }) => event);

/** The number of an event within its life of a room; the ids of one life count from 1. */
const numbered = ({ id }) => {
  const [, life, number] = id.match(/^EV_([0-9A-Z]+)_(\d+)$/) ?? assert.fail(`the id ${id} has no number`);
  return { life, number: Number(number) };
};

/** The value of a metric. */
async function metric(server, line) {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return Number(text.split("\n").find((one) => one.startsWith(`${line} `))?.split(" ").at(-1) ?? 0);
}

test("webhooks: a call is told from its beginning to its end, and the SDK verifies every word", async () => {
  await receiver.open();
  const stage = await openStage("webhooks", { args: args() });
  try {
    const room = freshRoom("hooks");
    const ada = await stage.person(stage.chromium, "ada");
    await ada.join(room, { single: true });
    await ada.publish();
    const early = await openSignal(stage.server, await stage.server.token(room, "early"));
    early.socket.close();
    await until("both tracks and the one that gave up to be told", () => names(room), (all) => all.filter((name) => name === "track_published").length === 2 && all.includes("participant_connection_aborted"));
    await stage.server.api.deleteRoom(room);
    await until("the room's end to be told", () => names(room), (all) => all.at(-1) === "room_finished");
    const told = receiver.of(room);
    assert.deepEqual(names(room).filter((name) => name !== "participant_connection_aborted"), ["room_started", "participant_joined", "track_published", "track_published", "track_unpublished", "track_unpublished", "participant_left", "room_finished"]);
    assert.deepEqual(told.map((event) => numbered(event).number), told.map((_, at) => at + 1), "the ids count without gaps");
    const joined = told.find(({ event }) => event === "participant_joined");
    assert.deepEqual([joined.participant.identity, joined.room.name, joined.room.sid.slice(0, 3)], ["ada", room, "RM_"]);
    assert.ok(Math.abs(Number(joined.createdAt) - Date.now() / 1000) < 300, "in seconds");
    const published = told.filter(({ event }) => event === "track_published");
    assert.deepEqual(published.map(({ track }) => track.mimeType.split("/")[0]).sort(), ["audio", "video"]);
    const aborted = told.find(({ event }) => event === "participant_connection_aborted");
    assert.equal(aborted.participant.identity, "early");
    assert.deepEqual(receiver.refused, []);
  } finally {
    await stage.close();
  }
});

test("webhooks: what is changed on the way, or signed by somebody else, is refused by the SDK", async () => {
  const { body, authorization, type } = receiver.requests[0];
  assert.equal(type, "application/webhook+json");
  assert.ok(!authorization.startsWith("Bearer"));
  await assert.rejects(new WebhookReceiver("devkey", "secret").receive(body.replace("room_started", "room_finished"), authorization));
  await assert.rejects(new WebhookReceiver("devkey", "another secret").receive(body, authorization));
});

test("webhooks: a receiver that is away and a server that is killed meanwhile lose no event and keep the order", async () => {
  await receiver.close();
  const rooms = Array.from({ length: 10 }, () => freshRoom("killed"));
  let server = await startServer("webhooks-killed", { args: args() });
  try {
    const lives = async (room, count) => {
      for (let life = 0; life < count; life++) {
        await server.api.createRoom({ name: room });
        await server.api.deleteRoom(room);
      }
    };
    const before = await metric(server, 'stoa_webhooks_total{outcome="queued"}');
    await Promise.all(rooms.map((room) => lives(room, 5)));
    await until("100 events to be on the disk", () => metric(server, 'stoa_webhooks_total{outcome="queued"}'), (queued) => queued - before === 100);
    // And in the middle of more.
    const more = Promise.allSettled(rooms.map((room) => lives(room, 1000)));
    await until("more events to be on the disk", () => metric(server, 'stoa_webhooks_total{outcome="queued"}'), (queued) => queued - before > 150);
    await server.kill();
    await more;

    server = await startServer("webhooks-killed-again", { args: args() });
    const waiting = await metric(server, "stoa_webhooks_pending");
    assert.ok(waiting >= 150, `${waiting} wait`);
    await receiver.open();
    await until("everything to be delivered", () => metric(server, "stoa_webhooks_pending"), (pending) => pending === 0);
    for (const room of rooms) {
      const told = receiver.of(room);
      assert.ok(told.length >= 10, `${room}: the ${told.length} events that were on the disk`);
      // Each life is told whole: the one that the kill cut off has ended with the server, under a number that no room counts to.
      assert.equal(told.length % 2, 0, `${room}: every life begins and ends`);
      for (let at = 0; at < told.length; at += 2) {
        const [started, finished] = told.slice(at, at + 2);
        assert.deepEqual([started.event, finished.event], ["room_started", "room_finished"]);
        assert.deepEqual([numbered(started).life, numbered(started).number], [numbered(finished).life, 1], `${room}: no gap, in order`);
        const end = numbered(finished).number;
        assert.ok(end === 2 || (end > 1e18 && finished.roomEndReason === 3 && at + 2 === told.length), `${room}: ${finished.id}`);
      }
    }
    const twice = receiver.events.length - receiver.distinct.length;
    console.log(`${receiver.distinct.length} events, ${twice} of them more than once`);
    assert.deepEqual(receiver.refused, []);
  } finally {
    await server.stop();
  }
});

test("webhooks: a server that is told to stop tells the end of its rooms, if need be after the next start", async () => {
  await receiver.close();
  const room = freshRoom("stopped");
  let server = await startServer("webhooks-stopped", { args: args() });
  try {
    await server.api.createRoom({ name: room });
    await server.stop();
    server = await startServer("webhooks-stopped-again", { args: args() });
    await receiver.open();
    await until("the room's end", () => names(room), (all) => all.length === 2);
    assert.deepEqual(names(room), ["room_started", "room_finished"]);
    assert.equal(receiver.of(room)[1].roomEndReason, 3, "the server has stopped");
    // What comes now comes behind it.
    await server.api.createRoom({ name: room });
    await until("a new event", () => names(room), (all) => all.length === 3);
    assert.notEqual(numbered(receiver.of(room)[2]).life, numbered(receiver.of(room)[1]).life);
  } finally {
    await server.stop();
  }
});
