// What every kind of client is put through, step by step, with Bob, a stock client in Chromium, on the other side.
//
// A client has `identity`, `look`, `size` and, where it matters, `codec` of its picture, `lacks` (steps that its protocol does not have,
// and why), `publishes` and `plays`, `joinsAnew` where it never resumes, and methods: `join(room, gate)`, `publish()`, `watches(bob)`,
// `hears(bob)`, `hearsNothingFrom(bob)`, `setMuted(muted)`, `send(text)`, `receives(text, bob)`, `resume(gate)`, `pictures(bob)`,
// `leave()`, `close()`.

import assert from "node:assert/strict";
import { pause, until } from "../lib/until.mjs";

/** How long no media passes: longer than browsers need to see it (5 s), shorter than anybody gives up. */
const OUTAGE_MS = 6_000;

/** Columns of the matrix, in order. Each takes the scene: `client`, `bob`, `room`, `gate`, `link`. */
export const STEPS = {
  join: async ({ client, bob, room, gate }) => {
    await client.join(room, gate);
    if (client.joinsWith !== "publish") await until(`bob to list ${client.identity}`, () => bob.sees(client.identity));
  },

  publish: async ({ client, bob }) => {
    await client.publish();
    await bob.watches(client, client.size);
    if (client.codec) await bob.decodes(client, client.codec);
    await bob.hears(client);
  },

  see: ({ client, bob }) => client.watches(bob),

  hear: ({ client, bob }) => client.hears(bob),

  mute: async ({ client, bob }) => {
    if (client.plays) {
      await bob.do("setMuted", { source: "microphone", muted: true });
      await client.hearsNothingFrom(bob);
      await bob.do("setMuted", { source: "microphone", muted: false });
      await client.hears(bob);
    }
    if (!client.publishes || client.mutes === false) return;
    await client.setMuted(true);
    await bob.notices({ kind: "muted", who: client.identity, source: "microphone" });
    await bob.hearsNothingFrom(client);
    await client.setMuted(false);
    await bob.hears(client);
  },

  data: async ({ client, bob }) => {
    await client.send("from the client");
    await bob.receives({ text: "from the client", from: client.identity });
    await bob.do("send", { text: "from bob", reliable: true });
    await client.receives("from bob", bob);
  },

  "socket cut": async ({ client, bob, gate }) => {
    const { sid } = await bob.sees(client.identity);
    await bob.do("forgetEvents");
    await client.resume(gate);
    if (client.joinsAnew) {
      await until("bob to list the new session alone", () => bob.sees(client.identity), (seen) => seen && seen.sid !== sid);
    } else {
      assert.equal((await bob.sees(client.identity))?.sid, sid, "the same session");
      await sawNothing(bob);
    }
    await meet(client, bob);
    if (!client.lacks.data) await client.send("back again").then(() => bob.receives({ text: "back again", from: client.identity }));
  },

  "path cut": async ({ client, bob, link }) => {
    const { sid } = await bob.sees(client.identity);
    await bob.do("forgetEvents");
    loses(link, 100);
    const pictures = async () => (client.publishes ? (await bob.do("video", { identity: client.identity })).frames : client.pictures(bob));
    await until("the picture to stand still", async () => {
      const before = await pictures();
      await pause(500);
      return (await pictures()) === before;
    });
    await pause(OUTAGE_MS);
    loses(link, 0);
    await meet(client, bob);
    if (client.mayJoinAnew) return;
    assert.equal((await bob.sees(client.identity))?.sid, sid, "the same session");
    await sawNothing(bob);
  },

  leave: async ({ client, bob }) => {
    await client.leave();
    await until(`${client.identity} to be off bob's list`, () => bob.sees(client.identity).then((seen) => seen === undefined));
  },
};

/** Takes one client through all steps; resolves with a cell per step: `{ok: true, ms}`, `{lacks: reason}` or `{error, ms}`. */
export async function play(scene) {
  const cells = {};
  for (const [step, run] of Object.entries(STEPS)) {
    const reason = scene.client.lacks[step];
    if (reason) cells[step] = { lacks: reason };
    else if (cells.join?.error) cells[step] = { error: "never joined" };
    else cells[step] = await timed(run(scene));
  }
  return cells;
}

async function timed(step) {
  const start = Date.now();
  const outcome = await step.then(() => ({ ok: true }), (error) => ({ error: error.message }));
  return { ...outcome, ms: Date.now() - start };
}

function loses(link, percent) {
  for (const direction of ["down", "up"]) link.change(`${direction} loss=${percent}%`);
}

/** Each sees and hears the other, as far as the client does that. */
async function meet(client, bob) {
  if (client.plays) await client.watches(bob).then(() => client.hears(bob));
  if (client.publishes) await bob.watches(client, client.size).then(() => bob.hears(client));
}

async function sawNothing(bob) {
  const seen = (await bob.do("events")).filter(({ kind }) => ["left", "joined", "trackUnsubscribed"].includes(kind));
  assert.deepEqual(seen, [], "bob saw somebody go or come");
}
