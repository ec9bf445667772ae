// A bad network for one person: the emulator of `cargo xtask netem` between a page and the server.

import { spawn } from "node:child_process";
import { createWriteStream, existsSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { ARTEFACTS, XTASK } from "./paths.mjs";
import { freeUdpPorts } from "./server.mjs";

/** Starts a link to the server's UDP port. `down` and `up` are conditions as docs/network-emulator.md has them; it listens on the address `host`. */
export async function startLink(serverPort, { down, up, seed = 1, host = "127.0.0.1" }) {
  if (!existsSync(XTASK)) throw new Error(`no emulator at ${XTASK}: build it with \`cargo build -p xtask\`, or set XTASK_BIN`);
  const [port] = await freeUdpPorts(1);
  const args = ["netem", "--attached", "--listen", `${host}:${port}`, "--to", `127.0.0.1:${serverPort}`, "--down", down, "--up", up, "--seed", String(seed)];
  const child = spawn(XTASK, args, { stdio: ["pipe", "pipe", "pipe"] });
  const link = new Link(child, host, port);
  await new Promise((resolve, reject) => {
    child.stdout.once("data", resolve);
    child.once("exit", (code) => reject(new Error(`the emulator ended with status ${code}: ${link.tail}`)));
  });
  return link;
}

/** This machine's address in its network; the loopback address where it has none. Firefox has no way from the one to the other. */
export function ownAddress() {
  const all = Object.values(networkInterfaces()).flat();
  return all.find(({ family, internal }) => family === "IPv4" && !internal)?.address ?? "127.0.0.1";
}

const TAIL_CHARACTERS = 2000;

class Link {
  tail = "";

  constructor(child, host, port) {
    this.child = child;
    this.host = host;
    this.port = port;
    const log = createWriteStream(join(ARTEFACTS, `link-${port}.log`));
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk) => { log.write(chunk); this.tail = (this.tail + chunk).slice(-TAIL_CHARACTERS); });
    }
  }

  /** Changes it: `change("down rate=400kbit")`. Returns when. */
  change(line) {
    this.child.stdin.write(`${line}\n`);
    return Date.now();
  }

  async stop() {
    if (this.stopped) return;
    this.stopped = true;
    if (this.child.exitCode !== null) return void console.error(`the emulator ended by itself:\n${this.tail}`);
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    this.child.stdin.end();
    await ended;
  }
}

/** Runs in a page before anything else: the server's candidates become the link's. */
export function goBehind(port) {
  const behind = (text) => text.replace(/(candidate:\S+ \d+ udp \d+) \S+ \d+/gi, `$1 127.0.0.1 ${port}`);
  const { setRemoteDescription, addIceCandidate } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    return setRemoteDescription.call(this, { type, sdp: behind(sdp) });
  };
  RTCPeerConnection.prototype.addIceCandidate = function (candidate) {
    const { candidate: text, sdpMid, sdpMLineIndex } = candidate ?? {};
    return addIceCandidate.call(this, text ? { candidate: behind(text), sdpMid, sdpMLineIndex } : candidate);
  };
}
