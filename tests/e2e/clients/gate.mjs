// The only way from a client to the server: signalling and HTTP through here, media through a link. Both can be cut, whatever the
// client is made of, because the server's candidates are changed on the way to it.

import { createServer } from "node:http";
import { SignalResponse } from "@livekit/protocol";
import WebSocket, { WebSocketServer } from "ws";

/** Nobody listens there: TCP candidates must not be a way around the link. */
const DISCARD_PORT = 9;
const CANDIDATE = /(candidate:\S+ \d+ (udp|tcp) \d+) \S+ \d+/gi;
/** Of an answer: what a page needs from it. */
const PASSED_HEADERS = ["content-type", "location", "etag", "link", "access-control-allow-origin", "access-control-allow-headers", "access-control-allow-methods", "access-control-expose-headers"];

/** Starts a gate before `server`, whose media port becomes that of `link`. */
export async function startGate(server, link) {
  const gate = new Gate(server, link);
  await new Promise((resolve) => gate.http.listen(0, "127.0.0.1", resolve));
  const { port } = gate.http.address();
  return Object.assign(gate, { url: `http://127.0.0.1:${port}`, socketUrl: `ws://127.0.0.1:${port}` });
}

class Gate {
  #whole = true;
  #sockets = new Set();
  #upgrades = new WebSocketServer({ noServer: true });

  constructor(server, link) {
    this.server = server;
    this.link = link;
    this.http = createServer((request, response) => this.#pass(request, response).catch(() => response.destroy()));
    this.http.on("connection", (socket) => {
      if (!this.#whole) return void socket.resetAndDestroy();
      this.#sockets.add(socket.on("close", () => this.#sockets.delete(socket)).on("error", () => undefined));
    });
    this.http.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /** Resets all connections, and new ones until `mend()`. */
  cut() {
    this.#whole = false;
    this.#sockets.forEach((socket) => socket.resetAndDestroy());
  }

  mend() {
    this.#whole = true;
  }

  async stop() {
    const closed = new Promise((resolve) => this.http.close(resolve));
    this.cut();
    await closed;
  }

  /** Text with the link in place of the server's candidates. */
  #behind(text) {
    return text.replace(CANDIDATE, (_, start, protocol) => `${start} ${this.link.host} ${protocol.toLowerCase() === "udp" ? this.link.port : DISCARD_PORT}`);
  }

  async #pass(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { host, connection, "content-length": _, ...headers } = request.headers;
    const answer = await fetch(this.server.url + request.url, { method: request.method, headers, ...(chunks.length > 0 && { body: Buffer.concat(chunks) }) });
    const passed = PASSED_HEADERS.filter((name) => answer.headers.has(name)).map((name) => [name, answer.headers.get(name)]);
    response.writeHead(answer.status, Object.fromEntries(passed)).end(this.#behind(await answer.text()));
  }

  #upgrade(request, socket, head) {
    // The server knows Firefox by its User-Agent: the stock client does not name its browser in the address.
    const passed = ["authorization", "user-agent"].filter((name) => request.headers[name]).map((name) => [name, request.headers[name]]);
    const far = new WebSocket(this.server.socketUrl + request.url, { headers: Object.fromEntries(passed) });
    // What the server says first may come before the client's side is open.
    const early = [];
    const keep = (...frame) => early.push(frame);
    far.on("message", keep).on("error", () => socket.destroy());
    far.on("unexpected-response", (_, { statusCode, statusMessage }) => socket.end(`HTTP/1.1 ${statusCode} ${statusMessage}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`));
    far.once("open", () => this.#upgrades.handleUpgrade(request, socket, head, (near) => {
      const forward = (frame, binary) => near.send(binary ? this.#changed(frame) : this.#behind(String(frame)));
      far.off("message", keep).on("message", forward).once("close", (code, reason) => near.close(code === 1005 || code === 1006 ? 1000 : code, reason));
      early.forEach((frame) => forward(...frame));
      near.on("message", (frame, binary) => far.send(frame, { binary })).on("error", () => undefined);
      // The server sees what happened: a connection that broke, or one that was closed with this code.
      near.once("close", (code) => (code === 1006 ? far.terminate() : far.close(code === 1005 ? 1000 : code)));
    }));
  }

  #changed(frame) {
    const response = SignalResponse.fromBinary(frame);
    const { case: kind, value } = response.message;
    if (kind === "answer" || kind === "offer") value.sdp = this.#behind(value.sdp);
    else if (kind === "trickle") value.candidateInit = this.#behind(value.candidateInit);
    else return frame;
    return response.toBinary();
  }
}
