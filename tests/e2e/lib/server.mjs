// The server under test: the real binary, on free ports.

import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { createWriteStream, existsSync } from "node:fs";
import { createServer } from "node:net";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { AccessToken, RoomServiceClient } from "livekit-server-sdk";
import { ARTEFACTS, STOA } from "./paths.mjs";
import { until } from "./until.mjs";

const KEY = "devkey";
const SECRET = "secret";

/** Starts `stoa dev`; `name` names its log. With STOA_URL set, uses the server that is there instead, unless `workers` or further `args` say how it must be. `port`: that one instead of a free one. */
export async function startServer(name, { workers, args = [], port: wanted } = {}) {
  if (process.env.STOA_URL && !workers && args.length === 0) return new Server(process.env.STOA_URL, undefined, []);
  if (!existsSync(STOA)) throw new Error(`no server at ${STOA}: build it with \`cargo build -p stoa\`, or set STOA_BIN`);
  const port = wanted ?? (await freeTcpPort());
  // One port per worker, and there are as many workers as cores.
  const udpPorts = await freeUdpPorts(workers ?? availableParallelism());
  const log = join(ARTEFACTS, `server-${name}.log`);
  const child = spawn(STOA, ["dev", "--port", String(port), "--udp-port", String(udpPorts[0]), "--workers", String(udpPorts.length), ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const server = new Server(`http://127.0.0.1:${port}`, child, udpPorts);
  const file = createWriteStream(log);
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => { file.write(chunk); server.keep(chunk); });
  process.once("exit", () => child.kill("SIGKILL"));
  await until(`the server to answer (log: ${log})`, () => {
    if (child.exitCode !== null) throw new Error(`it ended with status ${child.exitCode}:\n${server.tail}`);
    return fetch(`${server.url}/healthz`).then((response) => response.ok);
  });
  return server;
}

const TAIL_CHARACTERS = 6000;

class Server {
  tail = "";

  constructor(url, child, udpPorts) {
    this.url = url;
    this.child = child;
    this.udpPorts = udpPorts;
    this.socketUrl = url.replace(/^http/, "ws");
    this.api = new RoomServiceClient(url, KEY, SECRET);
  }

  keep(chunk) {
    this.tail = (this.tail + chunk).slice(-TAIL_CHARACTERS);
  }

  /** A token for `identity` to enter `room`; `grants` adds to or overrides the usual ones. */
  async token(room, identity, { name = identity, grants = {}, ttl = "1h", secret = SECRET } = {}) {
    const token = new AccessToken(KEY, secret, { identity, name, ttl });
    token.addGrant({ room, roomJoin: true, canPublish: true, canSubscribe: true, canPublishData: true, ...grants });
    return token.toJwt();
  }

  /** True while the process lives; a server that is not ours counts as alive. */
  get alive() {
    return this.child === undefined || this.child.exitCode === null;
  }

  /** Ends it without a word, as a loss of power does. */
  async kill() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.kill("SIGKILL");
    await ended;
    this.child = undefined;
  }

  async stop() {
    const child = this.child;
    if (!child) return;
    if (child.exitCode !== null) return void console.error(`the server ended by itself, with status ${child.exitCode}:\n${this.tail}`);
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    const hard = setTimeout(() => child.kill("SIGKILL"), 5000);
    await ended;
    clearTimeout(hard);
  }
}

/** A TCP port that nobody listens on. */
export function freeTcpPort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** `count` neighbouring free UDP ports, below the range from which the system hands out its own. */
export async function freeUdpPorts(count) {
  for (let attempt = 0; attempt < 100; attempt++) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const ports = Array.from({ length: count }, (_, index) => first + index);
    if ((await Promise.all(ports.map(udpPortIsFree))).every(Boolean)) return ports;
  }
  throw new Error(`no ${count} free UDP ports in a row`);
}

function udpPortIsFree(port) {
  return new Promise((resolve) => {
    const socket = createSocket("udp4").once("error", () => resolve(false));
    socket.bind(port, () => socket.close(() => resolve(true)));
  });
}
