import { Emitter } from "./emitter.js";
import { MessagingError } from "./errors.js";
import type { ChannelHost } from "./host.js";
import type { SavedOutbox, Settled } from "./outbox.js";
import { comparePlaces, covers, parseId } from "./place.js";
import {
  type Body, type ChannelState, type Cursor, type ErrorFrame, type EventId, type Item, MOST_SEEN, type Name, type Ok, type Position, type Push,
  type Pushes, type Resume, type ResumedChannel, type Role, type Settings, type Subscribed,
} from "./protocol.js";
import { type Receipt, Receipts } from "./receipts.js";
import { Sender, type Sent } from "./sender.js";
import { type Message, MOST_HELD, Timeline } from "./timeline.js";

/** Items that a new subscription begins with. */
const LAST = 30;
/** Items of a page. */
const PAGE = 50;
/** Somebody types until so long after the last frame, and is told to again after less. Milliseconds. */
const TYPING = 6_000;
const TYPING_AGAIN = 3_000;
/** A stream with a gap is asked for again at most so often. Milliseconds. */
const GAP = 30_000;
/** A temporary refusal that names no time. Milliseconds. */
const RETRY = 1_000;

export type ChannelStatus =
  /** Not asked for. */
  | "closed"
  /** Asked for, and not answered, or not connected. */
  | "opening"
  | "open"
  /** One may not have it: `error` says why. `open` tries again. */
  | "gone";

export interface ChannelEvents {
  /** Anything below: what is shown is to be shown anew. */
  change: void;
  /** A new item of the stream, in its order. */
  item: Item;
  /** A send has got its answer. */
  sent: Settled;
  /** The list was dropped, and is paged anew. */
  reset: { why: string };
  /** One is no member any more. */
  removed: { id?: EventId };
  told: Pushes["told"];
}

export interface SendOptions {
  replyTo?: string | Message;
  thread?: string | Message;
  mentions?: Name[];
  everyone?: boolean;
  /** Not before what was delivered in other channels until now: on all devices that have them open. */
  after?: boolean;
}

/** What a reload keeps of a channel. */
export interface SavedChannel {
  cursor?: Cursor;
  outbox: SavedOutbox;
}

interface Wanted {
  open: boolean;
  last: number;
}

/** A channel: its list, its sends, who has read and who types. Made by `Client.channel`. */
export class Channel extends Emitter<ChannelEvents> {
  status: ChannelStatus = "closed";
  /** As the server said last. */
  state: ChannelState | undefined;
  error: MessagingError | undefined;
  /** Messages that one has not read. */
  unread = 0;
  mentions = 0;
  /** Who types: some names, and how many others. */
  typists: { users: readonly Name[]; more: number } = { users: [], more: 0 };
  /** There is nothing before the first message. */
  atStart = false;
  /** Counts changes: for frameworks that compare. */
  version = 0;

  readonly #timeline = new Timeline();
  readonly #receipts = new Receipts();
  readonly #sender: Sender;
  readonly #regions = new Set<string>();
  #wanted: Wanted | undefined;
  #cursor: Cursor | undefined;
  #asked = 0;
  #view: Message[] | undefined;
  #untyped: (() => void) | undefined;
  #typed = Number.NEGATIVE_INFINITY;
  #gap = Number.NEGATIVE_INFINITY;
  #detail: EventId | undefined;
  /** How often the list was dropped. */
  #drops = 0;
  #paging: Promise<number> | undefined;

  constructor(
    readonly id: Name,
    private readonly client: ChannelHost,
  ) {
    super();
    const channel = this;
    this.#sender = new Sender(id, client, {
      settled: (settled) => this.#settled(settled),
      changed: () => this.#kept(),
      reacted: (event, emoji, on) => this.#timeline.reacted(event, emoji, on),
      get streams() { return channel.#wanted?.open === true; },
      region: () => (this.#regions.size === 1 ? [...this.#regions][0]! : ""),
    });
  }

  /** What is displayed, oldest first; the same array until something changes. */
  get messages(): readonly Message[] {
    return (this.#view ??= this.#timeline.view(this.#sender.echoes, this.client.own()));
  }

  get name(): string | undefined {
    return this.state?.settings?.name;
  }

  /** Where the stream stands. */
  get cursor(): Cursor | undefined {
    return this.#cursor;
  }

  /** A displayed message by its id, or another id of it. */
  message(id: EventId): Message | undefined {
    return this.#timeline.message(id);
  }

  /** Subscribes: with its events (`events: true`, the default), or only to its unread counts. Idempotent. */
  open({ events = true, last = LAST }: { events?: boolean; last?: number } = {}): this {
    const same = this.#wanted?.open === events && this.status !== "gone";
    this.#wanted = { open: events, last };
    if (same) return this;
    if (this.status !== "open") this.#become("opening");
    this.#subscribe();
    return this;
  }

  /** Ends the subscription. The list stays until it is opened again. */
  close(): void {
    if (!this.#wanted) return;
    this.#wanted = undefined;
    this.#asked++;
    this.#become("closed");
    this.client.issue("unsubscribe", { channel: this.id }, () => {});
  }

  /** Sends a message: a text, or anything with a `text`. It is in the list at once. */
  send(body: Body, options: SendOptions = {}): Sent {
    this.#typed = Number.NEGATIVE_INFINITY;
    const { replyTo, thread, mentions, everyone } = options;
    const args = { body, reply_to: this.#reference(replyTo), thread: this.#reference(thread), mentions, everyone, ...this.#after(options) };
    return this.#sender.send("send", defined(args));
  }

  /** Sends an event of the application's own kind, kept as messages are. */
  sendCustom(name: string, body: Body, options: SendOptions = {}): Sent {
    return this.#sender.send("send", defined({ kind: "custom", name, body, ...this.#after(options) }));
  }

  /** Messages are named by id, or as they are displayed, also before they have one. */
  edit(message: string | Message, body: Body): Sent {
    return this.#sender.send("edit", { event: this.#reference(message), body });
  }

  delete(message: string | Message): Sent {
    return this.#sender.send("delete", { event: this.#reference(message) });
  }

  react(message: string | Message, emoji: string, on = true): Sent {
    return this.#sender.send("react", { event: this.#reference(message), emoji, on });
  }

  /** Takes a message that was refused out of the list. */
  discard(message: Message): void {
    this.#sender.discard(message.key);
  }

  /** Sends a message that was refused once more, as a new one. */
  resend(message: Message): Sent | undefined {
    const args = this.#sender.discard(message.key);
    return args && this.#sender.send("send", { ...args });
  }

  /** An event that is kept nowhere; lost without a connection. */
  async tell(name: string, body?: Body): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const lost = () => reject(new MessagingError("lost", "there is no connection", false));
      const issued = this.client.issue("tell", { channel: this.id, name, body }, (answer) => {
        if ("ok" in answer) resolve();
        else if ("error" in answer) reject(MessagingError.of(answer.error));
        else lost();
      });
      if (!issued) lost();
    });
  }

  /** One is typing; call it with every key. */
  typing(on = true): void {
    const now = this.client.platform.now();
    if (on && now - this.#typed < TYPING_AGAIN) return;
    if (!on && this.#typed === Number.NEGATIVE_INFINITY) return;
    this.#typed = on ? now : Number.NEGATIVE_INFINITY;
    this.client.issue("typing", { channel: this.id, on }, () => {});
  }

  /** Everything up to a message, by default the last, has been read. Told at most every two seconds. */
  markRead(upto?: EventId): void {
    const last = this.#lastId();
    const place = parseId(upto ?? last);
    if (!place || !this.#cursor || covers(this.#receipts.readOf(this.client.own().user), place)) return;
    this.client.marks.mark(this.id, { cursor: this.#cursor, ...(upto && upto !== last && { upto }) });
    if (upto === undefined || upto === last) [this.unread, this.mentions] = [0, 0];
    this.#changed();
  }

  /** Who, or how many, have read a message. */
  receipt(message: Message): Receipt {
    return this.#receipts.of(message.id ?? "", message.from?.user);
  }

  /** Exact receipts of one message, also in large channels, until another is asked for. */
  async detail(event: EventId | null): Promise<Ok<"receipts.detail">> {
    this.#detail = event ?? undefined;
    return this.client.request("receipts.detail", { channel: this.id, event });
  }

  /** Pages older messages into the list: how many there were. */
  older(limit = PAGE): Promise<number> {
    if (this.#paging) return this.#paging;
    const paging = this.#page(limit).finally(() => {
      if (this.#paging === paging) this.#paging = undefined;
    });
    this.#paging = paging;
    return paging;
  }

  join(): Promise<Ok<"channel.join">> {
    return this.client.request("channel.join", { channel: this.id });
  }
  leave(): Promise<Ok<"channel.leave">> {
    return this.client.request("channel.leave", { channel: this.id });
  }
  update(settings: Settings): Promise<Ok<"channel.update">> {
    return this.client.request("channel.update", { channel: this.id, settings });
  }
  add(user: Name, role?: Role): Promise<object> {
    return this.client.request("channel.add", { channel: this.id, user, role });
  }
  invite(user: Name, role?: Role): Promise<object> {
    return this.client.request("channel.invite", { channel: this.id, user, role });
  }
  remove(user: Name): Promise<object> {
    return this.client.request("channel.remove", { channel: this.id, user });
  }
  members(page?: string): Promise<Ok<"members">> {
    return this.client.request("members", { channel: this.id, page });
  }
  reactions(event: EventId, page?: string): Promise<Ok<"reactions">> {
    return this.client.request("reactions", { channel: this.id, event, page });
  }
  search(query: string, page?: string): Promise<Ok<"search">> {
    return this.client.request("search", { channel: this.id, query, page });
  }

  // What follows is the client's to call.

  /** @internal */
  saved(): SavedChannel {
    return { cursor: this.#cursor, outbox: this.#sender.save() };
  }

  /** @internal */
  restore({ cursor, outbox }: SavedChannel): void {
    this.#cursor = cursor;
    this.#sender.restore(outbox);
  }

  /** @internal Is there something to send? */
  get isWaiting(): boolean {
    return this.#sender.isWaiting;
  }

  /** @internal What `connect` is to resume. */
  resume(): Resume | undefined {
    if (!this.#wanted || !this.#cursor || this.status === "gone") return undefined;
    return { channel: this.id, cursor: this.#cursor, open: this.#wanted.open };
  }

  /** @internal A new connection, and what it says of this channel. */
  connected(resumed: ResumedChannel | undefined): void {
    if (resumed?.ok && this.#wanted) this.#begin(resumed.ok, true);
    else if (resumed?.error && this.#wanted) this.#failed(resumed.error);
    else if (this.#wanted && this.status !== "gone") this.#subscribe();
    if (this.#detail) void this.detail(this.#detail).catch(() => {});
    this.#sender.pump();
  }

  /** @internal */
  disconnected(): void {
    this.#asked++;
    this.#sender.disconnected();
    if (this.status === "open") this.#become("opening");
  }

  /** @internal The device is another one: nothing of the old one is of use. */
  abandon(reason: string): void {
    this.#sender.abandon(reason);
    this.#cursor = undefined;
    this.#drop();
  }

  /** @internal */
  push(push: Push): void {
    switch (push.push) {
      case "events": return this.#events(push.data);
      case "touch": return this.#touch(push.data);
      case "receipts": return this.#receipt(push.data);
      case "typing": return this.#typing(push.data);
      case "told": return this.emit("told", push.data);
      case "channel": return this.#said(push.data.state);
      case "reset": return this.#reset(push.data.why, push.data.cursor);
      case "removed": return this.#removed(push.data.id);
      default:
    }
  }

  /** @internal A mark is durable. */
  marked({ read, delivered }: Ok<"read">): void {
    this.#receipts.mark({ user: this.client.own().user, read, delivered });
    this.#count();
    this.#changed();
  }

  #subscribe(): void {
    const wanted = this.#wanted;
    if (!wanted) return;
    const asked = ++this.#asked;
    const from = this.#cursor ? { cursor: this.#cursor } : { last: wanted.last };
    const resumed = this.#cursor !== undefined;
    this.client.issue("subscribe", { channel: this.id, from, open: wanted.open }, (answer) => {
      if (asked !== this.#asked || "lost" in answer) return;
      if ("ok" in answer) this.#begin(answer.ok, resumed);
      else this.#failed(answer.error);
    });
  }

  #begin({ cursor, csn, state }: Subscribed, resumed: boolean): void {
    if (!resumed) this.#drop();
    else if (this.#cursor) this.#sender.resumed(this.#cursor);
    this.#cursor = cursor;
    this.#timeline.begin();
    this.#sender.sync(csn ?? 0);
    this.#said(state);
    [this.unread, this.mentions, this.error] = [state?.unread ?? 0, state?.mentions ?? 0, undefined];
    this.#become("open");
    this.#sender.pump();
    this.client.save(this.id, false);
    // Of what is before the cursor nothing is shown after a reload.
    if (resumed && this.#wanted?.open && this.#timeline.size === 0) void this.older().catch((error: unknown) => this.#pageless(error));
  }

  /** A server that has no pages: what is before the cursor comes as the stream, from further back. */
  #pageless(error: unknown): void {
    if (!(error instanceof MessagingError) || error.code !== "unimplemented" || !this.#wanted) return;
    this.#cursor = undefined;
    this.#wanted.last = PAGE;
    this.#subscribe();
  }

  #failed(error: ErrorFrame): void {
    if (error.code === "bad_cursor" || error.code === "beyond_head") {
      const had = this.#cursor !== undefined;
      this.#cursor = undefined;
      this.client.problem({ what: "resume", reason: error.reason ?? error.code, channel: this.id });
      if (had) {
        this.#drop();
        this.emit("reset", { why: error.code });
        return this.#subscribe();
      }
    }
    if (!error.final) {
      const asked = this.#asked;
      this.client.platform.after(error.retry_after ?? RETRY, () => {
        if (asked === this.#asked && this.client.connected) this.#subscribe();
      });
      return;
    }
    this.#gone(MessagingError.of(error));
  }

  #events({ cursor, items }: Pushes["events"]): void {
    if (!this.#wanted?.open) return;
    for (const item of items) {
      if (!this.#timeline.follows(item) && this.#gapped(item)) return;
      this.#item(item);
    }
    this.#cursor = cursor;
    if (this.#timeline.trim()) this.atStart = false;
    this.client.save(this.id, false);
    const foreign = items.some(({ from }) => from && from.user !== this.client.own().user);
    if (foreign && this.client.receipts && this.state?.tier !== "L") this.client.marks.mark(this.id, { delivered: cursor });
    this.#changed();
  }

  #item(item: Item): void {
    const own = this.client.own();
    const mine = item.from?.user === own.user;
    if (mine && item.from?.device === own.device && item.csn) this.#sender.arrived(item);
    const applied = this.#timeline.apply(item);
    if (applied === "bad") return this.client.problem({ what: "bad_frame", reason: `an item with the id ${String(item.id)}`, channel: this.id });
    this.#regions.add(parseId(item.id)!.region);
    if (applied === "known") return;
    if (!mine && isCountable(item) && !this.#isCounted(item.id)) {
      this.unread++;
      if (item.everyone || item.mentions?.includes(own.user)) this.mentions++;
    }
    if (item.from) this.#stopped(item.from.user);
    this.emit("item", item);
  }

  /** The server says unread counts up to the head of that moment. */
  #isCounted(id: EventId): boolean {
    const [place, head] = [parseId(id), parseId(this.state?.head)];
    return place !== undefined && head !== undefined && place.region === head.region && comparePlaces(place, head) <= 0;
  }

  /** The stream lacks something: it is asked for again from where it was whole. False: that was tried. */
  #gapped(item: Item): boolean {
    const now = this.client.platform.now();
    this.client.problem({ what: "gap", reason: `${item.id} follows ${item.prev ?? "nothing"}`, channel: this.id });
    if (now - this.#gap < GAP) return false;
    this.#gap = now;
    this.#subscribe();
    return true;
  }

  #touch({ unread, mentions }: Pushes["touch"]): void {
    [this.unread, this.mentions] = [unread, mentions];
    this.#changed();
  }

  #receipt(push: Pushes["receipts"]): void {
    this.#receipts.push(push);
    if (push.marks?.some(({ user }) => user === this.client.own().user)) this.#count();
    this.#changed();
  }

  /** What is not read of what is shown, after the own mark moved. */
  #count(): void {
    const { user } = this.client.own();
    const read: Position | undefined = this.#receipts.readOf(user);
    if (!this.#wanted?.open || !read) return;
    const unread = (item: Item) => isCountable(item) && item.from?.user !== user;
    this.unread = this.#timeline.count((key, item) => unread(item) && !covers(read, key));
    this.mentions = this.#timeline.count(
      (key, item) => unread(item) && !covers(read, key) && (item.everyone === true || item.mentions?.includes(user) === true),
    );
  }

  #typing({ users, more }: Pushes["typing"]): void {
    const others = users.filter((user) => user !== this.client.own().user);
    this.typists = { users: others, more: more ?? 0 };
    this.#untyped?.();
    if (others.length > 0) {
      this.#untyped = this.client.platform.after(TYPING, () => {
        this.typists = { users: [], more: 0 };
        this.#changed();
      });
    }
    this.#changed();
  }

  /** Who has sent something does not type any more. */
  #stopped(user: Name): void {
    if (this.typists.users.includes(user)) this.typists = { ...this.typists, users: this.typists.users.filter((each) => each !== user) };
  }

  #said(state: ChannelState | undefined): void {
    if (!state) return;
    this.state = { ...state, settings: state.settings ?? {} };
    for (const mark of state.marks ?? []) this.#receipts.mark(mark);
    this.#changed();
  }

  #reset(why: string, cursor: Cursor): void {
    this.#drop();
    this.#cursor = cursor;
    this.client.save(this.id, true);
    this.emit("reset", { why });
    if (this.#wanted?.open) void this.older().catch(() => {});
    this.#changed();
  }

  #removed(id: EventId | undefined): void {
    this.#gone(new MessagingError("removed", "you are not a member of this channel any more"));
    this.emit("removed", { id });
  }

  #gone(error: MessagingError): void {
    this.error = error;
    this.#cursor = undefined;
    this.client.marks.forget(this.id);
    this.client.save(this.id, true);
    this.#become("gone");
  }

  async #page(limit: number): Promise<number> {
    if (this.atStart || this.#timeline.size >= MOST_HELD) return 0;
    const before = this.#timeline.oldest ?? this.#cursor;
    const drops = this.#drops;
    const seen = this.#sender.seen;
    const ok = await this.client.request("history", { channel: this.id, before, limit, ...(seen.length > 0 && { seen }) });
    // Meanwhile the list was dropped: the page hangs on nothing.
    if (drops !== this.#drops) return 0;
    this.#sender.sawPage(ok.token);
    const fresh = this.#timeline.page(ok.items ?? []);
    if (!ok.stale && (ok.items?.length ?? 0) < limit) this.atStart = true;
    this.#changed();
    return fresh;
  }

  #settled(settled: Settled): void {
    this.emit("sent", settled);
  }

  #reference(message: string | Message | undefined): EventId | number | undefined {
    if (message === undefined || typeof message === "string") return message;
    return message.id ?? this.#sender.numberOf(message.key) ?? message.key;
  }

  #after({ after }: SendOptions): { after?: [Name, Cursor][] } {
    const cursors = after ? this.client.cursors(this.id).slice(0, MOST_SEEN) : [];
    return cursors.length > 0 ? { after: cursors } : {};
  }

  #lastId(): EventId | undefined {
    return this.messages.findLast(({ item }) => item)?.id;
  }

  #drop(): void {
    this.#drops++;
    this.#paging = undefined;
    this.#timeline.clear();
    this.#receipts.clear();
    this.#sender.reset();
    this.atStart = false;
  }

  #become(status: ChannelStatus): void {
    this.status = status;
    this.#changed();
  }

  /** Something that a reload must find. */
  #kept(): void {
    this.client.save(this.id, true);
    this.#changed();
  }

  #changed(): void {
    this.#view = undefined;
    this.version++;
    this.emit("change", undefined);
  }
}

/** What counts as unread: docs/messaging.md. */
function isCountable({ kind }: Item): boolean {
  return kind === "message";
}

function defined(args: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(args).filter(([, value]) => value !== undefined));
}
