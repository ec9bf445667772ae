// A server in a hundred lines: numbers, log, cursors and history of docs/messaging-protocol.md, with nothing but channels in memory.
// It is what the client is played against when connections break by seed.

import { clock } from "./world.mjs";

export class Server {
  channels = new Map();
  sockets = new Set();
  /** Refuses sends for a while now and then: `() => error | undefined`. */
  trouble = () => undefined;

  constructor(world) {
    this.world = world;
  }

  channel(id) {
    if (!this.channels.has(id)) this.channels.set(id, { id, log: [], last: new Map(), answers: new Map() });
    return this.channels.get(id);
  }

  /** Serves a socket for the person of its token. What it says arrives later, in order. */
  serve(socket) {
    const session = { socket, user: undefined, open: new Map() };
    this.sockets.add(session);
    socket.onFrame = (frame) => this.#later(session, () => this.#answer(session, frame));
    this.world.after(1 + this.world.below(20), () => !socket.isClosed && socket.accept());
  }

  #later(session, what) {
    // In order: never before what was said before.
    session.next = Math.max(session.next ?? 0, this.world.time + this.world.below(30));
    this.world.after(session.next - this.world.time, () => !session.socket.isClosed && what());
  }

  #say(session, frame) {
    session.out = Math.max(session.out ?? 0, this.world.time + this.world.below(30));
    this.world.after(session.out - this.world.time, () => session.socket.say(frame));
  }

  #answer(session, { id, v: _, ...rest }) {
    const [command] = Object.keys(rest);
    const args = rest[command];
    const answer = this[`do_${command}`]?.(session, args) ?? { error: { code: "unknown", final: true } };
    this.#say(session, { v: 1, id, ...answer });
    this.flush(session);
  }

  do_connect(session, { token, device, resume = [] }) {
    Object.assign(session, { user: token, device });
    const channels = resume.map(({ channel, cursor }) => ({ channel, ...this.do_subscribe(session, { channel, from: { cursor } }) }));
    return { ok: { user: token, ping: 25_000, time: this.world.time, limits: {}, channels, calls: [] } };
  }

  do_subscribe(session, { channel, from = { last: 30 } }) {
    const { log, last } = this.channel(channel);
    const at = from.cursor ? Number(from.cursor.split("@")[1]) : Math.max(0, log.length - from.last);
    session.open.set(channel, at);
    const state = { kind: "group", settings: {}, role: "member", members: 2, tier: "S", unread: 0, mentions: 0 };
    return { ok: { cursor: `${channel}@${at}`, csn: last.get(session.device) ?? 0, state } };
  }

  do_send(session, args) {
    return this.#append(session, args, { kind: "message", body: args.body, reply_to: args.reply_to });
  }
  do_edit(session, args) {
    return this.#append(session, args, { kind: "edit", target: args.event, body: args.body });
  }
  do_delete(session, args) {
    return this.#append(session, args, { kind: "delete", target: args.event });
  }

  #append({ user, device }, { channel: id, csn, follows = csn - 1 }, content) {
    const channel = this.channel(id);
    const [last, text] = [channel.last.get(device) ?? 0, JSON.stringify(content)];
    const stored = channel.answers.get(`${device} ${csn}`);
    if (stored) return stored.text === text ? stored.answer : { error: { code: "csn_conflict", final: true } };
    if (csn <= last) return { error: { code: "csn_stale", final: true } };
    if (follows !== last) return { error: { code: "csn_gap", last, final: true } };
    const refused = this.trouble(content);
    if (refused) return { error: refused };
    const n = channel.log.length + 1;
    const prev = n > 1 ? { prev: `eu.1.${n - 1}` } : {};
    channel.log.push({ id: `eu.1.${n}`, ...prev, t: clock(this.world.time + n), count: n, from: { user, device }, csn, ...content });
    const answer = { ok: { event: `eu.1.${n}`, token: `t${n}` } };
    channel.answers.set(`${device} ${csn}`, { text, answer });
    channel.last.set(device, csn);
    for (const session of this.sockets) this.flush(session);
    return answer;
  }

  do_history(_, { channel, before, limit = 50 }) {
    const { log } = this.channel(channel);
    const end = before?.includes("@") ? Number(before.split("@")[1]) : Number(before?.split(".")[2] ?? log.length + 1) - 1;
    const shown = log.slice(0, end).filter(({ kind }) => kind === "message").slice(-limit).reverse();
    return { ok: { items: shown.map((item) => this.#overlaid(log, item)), token: `h${end}` } };
  }

  #overlaid(log, item) {
    const edit = log.findLast(({ kind, target }) => kind === "edit" && target === item.id);
    const deleted = log.some(({ kind, target }) => kind === "delete" && target === item.id);
    return { ...item, ...(edit && { edited: true, body: edit.body }), ...(deleted && { deleted: true, body: undefined }) };
  }

  do_read() { return { ok: { read: {}, delivered: {} } }; }
  do_presence() { return { ok: { there: [] } }; }
  do_typing() { return { ok: {} }; }

  flush(session) {
    for (const [id, at] of session.open) {
      const { log } = this.channel(id);
      if (at >= log.length || session.socket.isClosed) continue;
      const upto = Math.min(log.length, at + 1 + this.world.below(3));
      session.open.set(id, upto);
      this.#say(session, { v: 1, events: { channel: id, cursor: `${id}@${upto}`, items: log.slice(at, upto) } });
      if (upto < log.length) this.#later(session, () => this.flush(session));
    }
  }

  /** Cuts every connection, as a crash does. */
  cut() {
    for (const { socket } of this.sockets) socket.cut();
    this.sockets.clear();
  }
}
