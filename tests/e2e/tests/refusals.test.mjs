// What the server must refuse, while a call goes on undisturbed beside it.

import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { createSocket } from "node:dgram";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { SessionDescription } from "@livekit/protocol";
import { openSignal, validate } from "../lib/signal.mjs";
import { freshRoom, openStage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const ROOM = freshRoom("undisturbed");

let stage;
let [ada, bob] = [];

before(async () => {
  stage = await openStage("refusals");
  ada = await stage.person(stage.chromium, "ada");
  bob = await stage.person(stage.chromium, "bob");
  for (const person of [ada, bob]) await person.join(ROOM);
  for (const person of [ada, bob]) await person.publish();
  await ada.watches(bob);
});

after(() => stage?.close());

/** The call of ada and bob is as it was. */
async function undisturbed() {
  assert.ok(stage.server.alive, stage.server.tail);
  await Promise.all([ada.watches(bob), bob.watches(ada), ada.hears(bob)]);
  for (const person of [ada, bob]) {
    const broken = (await person.do("events")).filter(({ kind }) => kind === "reconnecting" || kind === "disconnected");
    assert.deepEqual(broken, [], `${person.identity}'s call was interrupted`);
  }
}

function segment(value) {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

/** A token as no library would make it. */
function handmade(header, claims, secret) {
  const body = `${segment(header)}.${segment(claims)}`;
  const signature = secret ? createHmac("sha256", secret).update(body).digest("base64url") : "";
  return `${body}.${signature}`;
}

const HS256 = { alg: "HS256", typ: "JWT" };
const now = () => Math.floor(Date.now() / 1000);
const claims = (changed) => ({ iss: "devkey", sub: "eve", exp: now() + 600, nbf: now() - 10, video: { roomJoin: true, room: ROOM }, ...changed });

const BAD_TOKENS = {
  "that is missing": () => "",
  "that is no token": () => "hello",
  "that has expired": () => handmade(HS256, claims({ exp: now() - 3600 }), "secret"),
  "that is not yet valid": () => handmade(HS256, claims({ nbf: now() + 3600, exp: now() + 7200 }), "secret"),
  "without a signature": () => handmade({ alg: "none", typ: "JWT" }, claims(), undefined),
  "signed with another secret": () => handmade(HS256, claims(), "guess"),
  "of an unknown key": () => handmade(HS256, claims({ iss: "nobody" }), "secret"),
  "without the right to join": () => handmade(HS256, claims({ video: { room: ROOM } }), "secret"),
};

for (const [what, make] of Object.entries(BAD_TOKENS)) {
  test(`refusals: a token ${what} opens nothing, and browsers can read why`, async () => {
    for (const path of ["/rtc/validate", "/rtc/v1/validate"]) {
      const { status, text, cors } = await validate(stage.server, make(), path);
      // Over v1 a request without its join request is malformed whoever sends it.
      assert.ok(status === 401 || (path.includes("v1") && status === 400), `${path} answered ${status}: ${text}`);
      assert.equal(cors, "*");
    }
    await assert.rejects(openSignal(stage.server, make()), /401/);
  });
}

test("refusals: a token without identity or room is a bad request", async () => {
  for (const changed of [{ sub: "" }, { video: { roomJoin: true, room: "" } }]) {
    const { status } = await validate(stage.server, handmade(HS256, claims(changed), "secret"));
    assert.equal(status, 400);
  }
});

test("refusals: the stock client is told that its token is not accepted", async () => {
  const page = await stage.person(stage.chromium, "eve");
  const token = handmade(HS256, claims(), "guess");
  await assert.rejects(page.do("join", { url: stage.server.socketUrl, token, single: true }), /eve: join failed/);
  await page.close();
});

test("refusals: the administrator of one room may not manage another", async () => {
  const token = handmade(HS256, claims({ video: { roomAdmin: true, room: "elsewhere" } }), "secret");
  const ask = (method) =>
    fetch(`${stage.server.url}/twirp/livekit.RoomService/${method}`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: JSON.stringify({ room: ROOM, identity: "ada" }),
    });
  for (const method of ["ListParticipants", "RemoveParticipant", "DeleteRoom", "ListRooms"]) {
    const { status } = await ask(method);
    assert.ok([401, 403].includes(status), `${method} answered ${status}`);
  }
  await undisturbed();
});

test("refusals: malformed signal frames end or are ignored, and nobody else notices", async () => {
  const frames = [Buffer.alloc(0), Buffer.from([0xff]), randomBytes(100), randomBytes(60_000), Buffer.alloc(1000, 0x0a)];
  for (const frame of [...frames, "no json", '{"offer":7}', "x".repeat(60_000)]) {
    const { socket, closed } = await openSignal(stage.server, await stage.server.token(ROOM, "mallory"));
    for (let count = 0; count < 20; count++) socket.send(frame);
    socket.close();
    await closed;
  }
  await undisturbed();
});

test("refusals: a signal frame above the limit closes the connection", async () => {
  const { socket, closed } = await openSignal(stage.server, await stage.server.token(ROOM, "mallory"));
  socket.send(Buffer.alloc(3 << 20, 0x0a));
  await closed;
  await undisturbed();
});

test("refusals: session descriptions that are huge or nonsense are refused", async () => {
  const lines = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
  const media = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n";
  for (const sdp of ["", "nonsense", "\0".repeat(100), lines, lines + media.repeat(15_000), "a=".padEnd(1 << 20, "x")]) {
    const { socket, send, closed } = await openSignal(stage.server, await stage.server.token(ROOM, "mallory"));
    send({ case: "offer", value: new SessionDescription({ type: "offer", sdp, id: 1 }) });
    send({ case: "answer", value: new SessionDescription({ type: "answer", sdp, id: 7 }) });
    send({ case: "trickle", value: { candidateInit: sdp.slice(0, 2000), target: 0 } });
    socket.close();
    await closed;
  }
  await undisturbed();
});

test("refusals: random, truncated and oversized datagrams are dropped", async () => {
  const ports = stage.server.udpPorts;
  const socket = createSocket("udp4");
  const starts = [[], [0x00, 0x01], [0x01, 0x01], [0x16, 0xfe, 0xfd], [0x17, 0xfe, 0xfd], [0x80, 0x60], [0x80, 0xc8], [0x90, 0xff], [0x40]];
  const sizes = [1, 3, 12, 20, 100, 1200, 9000];
  for (let round = 0; round < 5; round++) {
    for (const port of ports) {
      for (const start of starts) {
        for (const size of sizes) {
          const datagram = Buffer.concat([Buffer.from(start), randomBytes(size)]).subarray(0, size);
          await new Promise((sent) => socket.send(datagram, port, "127.0.0.1", sent));
        }
      }
    }
  }
  socket.close();
  await undisturbed();
});

test("refusals: rubbish on the HTTP port closes only its own connection", async () => {
  for (const bytes of [randomBytes(5000), Buffer.from("GET / HTTP/1.1\r\nhost: x\r\n"), Buffer.from(`GET /${"x".repeat(300_000)} HTTP/1.1\r\n\r\n`)]) {
    const socket = connect(Number(new URL(stage.server.url).port), "127.0.0.1");
    socket.on("error", () => undefined);
    await new Promise((sent) => socket.write(bytes, sent));
    socket.destroy();
  }
  await undisturbed();
});

test("refusals: those who only disturbed are no longer in the room", async () => {
  await until("mallory to be gone", () => ada.sees("mallory"), (person) => person === undefined);
  assert.deepEqual((await stage.server.api.listParticipants(ROOM)).map(({ identity }) => identity).sort(), ["ada", "bob"]);
});
