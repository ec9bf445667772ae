// A world that is turned by hand: a clock, timers, randomness by seed, and sockets whose other end is the test.

/** What runs after promises have settled: enough rounds for any chain in the client. */
export async function settle() {
  for (let round = 0; round < 40; round++) await Promise.resolve();
}

export class World {
  time = 1_790_000_000_000;
  /** Every socket that was opened, in order. */
  sockets = [];
  /** Called with each new socket. */
  onSocket = () => {};
  #timers = new Map();
  #next = 1;
  #seed;
  #ids = 0;

  constructor(seed = 1) {
    this.#seed = seed;
  }

  random() {
    // Mulberry32: small, and the same everywhere.
    this.#seed = (this.#seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#seed ^ (this.#seed >>> 15), 1 | this.#seed);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4_294_967_296;
  }

  below(n) {
    return Math.floor(this.random() * n);
  }

  platform() {
    return {
      now: () => this.time,
      random: () => this.random(),
      id: () => `id-${++this.#ids}`,
      after: (ms, call) => this.after(ms, call),
      open: (url, subprotocol, events) => {
        const socket = new FakeSocket(url, subprotocol, events);
        this.sockets.push(socket);
        this.onSocket(socket);
        return socket;
      },
    };
  }

  after(ms, call) {
    const id = this.#next++;
    this.#timers.set(id, { at: this.time + Math.max(0, ms), call });
    return () => void this.#timers.delete(id);
  }

  /** Lets so many milliseconds pass, timer by timer. */
  async pass(ms) {
    const until = this.time + ms;
    await settle();
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= until).sort((a, b) => a[1].at - b[1].at || a[0] - b[0])[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].call();
      await settle();
    }
    this.time = until;
  }

  get socket() {
    return this.sockets.at(-1);
  }
}

/** One socket, as the server sees it. */
export class FakeSocket {
  isOpen = false;
  isClosed = false;
  closedWith;
  /** Frames of the client that were not looked at. */
  inbox = [];
  /** Instead of the inbox. */
  onFrame;

  constructor(url, subprotocol, events) {
    Object.assign(this, { url, subprotocol, events });
  }

  // The client's side.
  send(data) {
    if (!this.isOpen || this.isClosed) throw new Error("the socket is not open");
    const frame = JSON.parse(data);
    if (this.onFrame) this.onFrame(frame);
    else this.inbox.push(frame);
  }

  close(code) {
    this.isClosed = true;
    this.closedWith = code;
  }

  // The server's side.
  accept() {
    this.isOpen = true;
    this.events.open();
  }

  say(frame) {
    if (!this.isClosed) this.events.message(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  /** The network breaks, or the server closes. */
  cut(code = 1006, reason = "") {
    if (this.isClosed) return;
    this.isClosed = true;
    this.events.close(code, reason);
  }

  /** Takes the oldest frame with this command. */
  take(command) {
    const at = this.inbox.findIndex((frame) => command in frame);
    if (at < 0) throw new Error(`the client sent no \`${command}\`: ${JSON.stringify(this.inbox)}`);
    return this.inbox.splice(at, 1)[0];
  }

  all(command) {
    const found = this.inbox.filter((frame) => command in frame);
    this.inbox = this.inbox.filter((frame) => !(command in frame));
    return found;
  }

  ok(frame, ok = {}) {
    this.say({ v: 1, id: frame.id, ok });
  }

  error(frame, error) {
    this.say({ v: 1, id: frame.id, error });
  }

  /** Opens and welcomes; gives the `connect` frame. */
  welcome(extra = {}) {
    this.accept();
    const connect = this.take("connect");
    this.ok(connect, { user: "ann", ping: 25_000, time: 1_790_000_000_000, limits: { frame: 65_536 }, channels: [], calls: [], ...extra });
    return connect;
  }
}

export const STATE = { kind: "group", settings: {}, role: "member", members: 2, tier: "S", unread: 0, mentions: 0, marks: [] };

/** A clock's text for a number of milliseconds. */
export function clock(ms) {
  return ms.toString(16).padStart(12, "0") + "0000";
}

/** An item of the only log of a channel. */
export function item(n, more = {}) {
  return { id: `eu.1.${n}`, ...(n > 1 && { prev: `eu.1.${n - 1}` }), t: clock(1_000 + n), count: n, from: { user: "bob", device: "b" }, csn: n, kind: "message", body: `m${n}`, ...more };
}
