// An application's server that takes webhooks, as the stock server SDK does.

import { createServer } from "node:http";
import { WebhookReceiver } from "livekit-server-sdk";
import { freeTcpPort } from "./server.mjs";

/** A receiver at a fixed port that can go away and come back. */
export async function makeReceiver({ key = "devkey", secret = "secret" } = {}) {
  return new Receiver(await freeTcpPort(), new WebhookReceiver(key, secret));
}

class Receiver {
  /** Everything that was sent and verified, in order, repetitions too. */
  events = [];
  /** What the SDK refused, and why. */
  refused = [];
  /** Raw requests. */
  requests = [];

  constructor(port, verifier) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}/hook`;
    this.verifier = verifier;
  }

  open() {
    this.server = createServer((request, response) => this.#take(request, response));
    return new Promise((resolve, reject) => this.server.once("error", reject).listen(this.port, "127.0.0.1", resolve));
  }

  async close() {
    const { server } = this;
    if (!server) return;
    this.server = undefined;
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  }

  /** Each event once, in the order in which it first came. */
  get distinct() {
    const seen = new Map();
    for (const event of this.events) if (!seen.has(event.id)) seen.set(event.id, event);
    return [...seen.values()];
  }

  of(room) {
    return this.distinct.filter((event) => event.room.name === room);
  }

  async #take(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    const { authorization } = request.headers;
    this.requests.push({ body, authorization, type: request.headers["content-type"] });
    try {
      this.events.push(await this.verifier.receive(body, authorization));
      response.writeHead(200).end();
    } catch (error) {
      this.refused.push(error.message);
      response.writeHead(401).end();
    }
  }
}
