// The sending side of a channel: the outbox, the local echo, and the tokens that prove what was seen.

import type { Answer } from "./connection.js";
import type { ChannelHost } from "./host.js";
import { type Entry, Outbox, type Outcome, type SavedOutbox, type Settled } from "./outbox.js";
import { type Args, type Cursor, type EventId, type Item, MOST_SEEN, type Name, type SendCommand, type Token } from "./protocol.js";
import type { Echo } from "./timeline.js";

/** Refused sends that are shown until the application discards them. */
const MOST_FAILED = 100;

/** A send that was handed over. */
export interface Sent {
  /** The `key` of its message, and what `discard` takes. */
  readonly key: string;
  /** What references to it before its answer are made with. */
  readonly csn: number;
  /** What became of it. It never rejects; `unknown` may be followed by the channel's event `sent` with `refused`. */
  readonly done: Promise<Outcome>;
}

export interface SenderHost {
  /** A send was settled. */
  settled(settled: Settled): void;
  /** What is shown, or kept, has changed. */
  changed(): void;
  /** A reaction was accepted. */
  reacted(event: EventId, emoji: string, on: boolean): void;
  /** Does the stream bring own sends? */
  readonly streams: boolean;
  /** The only region that the channel was seen in; "": several, or none. */
  region(): string;
}

interface Seen {
  value: Token | Cursor;
  /** It came with a page: what a page shows is mostly covered by the stream, so it goes first. */
  page: boolean;
}

export class Sender {
  readonly #outbox = new Outbox();
  /** What is shown before the stream brings it, in the order of numbers. */
  #echoes: (Echo & { entry: Entry })[] = [];
  readonly #done = new Map<Entry, (outcome: Outcome) => void>();
  #seen: Seen[] = [];
  /** The cursor at the last reconnection, until a send has presented it. */
  #resumed: Cursor | undefined;
  /** Where this connection's sends were accepted; "": not known. */
  #region = "";
  #wake: (() => void) | undefined;

  constructor(
    private readonly channel: Name,
    private readonly client: ChannelHost,
    private readonly host: SenderHost,
  ) {}

  get echoes(): readonly Echo[] {
    return this.#echoes;
  }

  /** Is there something without an answer? */
  get isWaiting(): boolean {
    return this.#outbox.entries.length > 0;
  }

  save(): SavedOutbox {
    return this.#outbox.save();
  }

  restore(saved: SavedOutbox): void {
    this.#outbox.restore(saved);
    this.#echoes = this.#outbox.entries.map((entry) => ({ entry }));
    this.#report(this.#outbox.expire(this.client.platform.now()));
  }

  send(command: SendCommand, args: Record<string, unknown>): Sent {
    const entry = this.#outbox.compose(this.client.platform.now(), command, args);
    this.#echoes.push({ entry });
    const done = new Promise<Outcome>((resolve) => this.#done.set(entry, resolve));
    this.pump();
    this.host.changed();
    return { key: this.#keyOf(entry), csn: entry.csn, done };
  }

  /** Takes a refused message out of what is shown; its content, to be sent anew. */
  discard(key: string): Readonly<Record<string, unknown>> | undefined {
    const echo = this.#echoes.find(({ entry, failed }) => failed && this.#keyOf(entry) === key);
    if (!echo) return undefined;
    this.#echoes = this.#echoes.filter((each) => each !== echo);
    this.host.changed();
    return echo.entry.args;
  }

  /** The number of an own message that has no id yet. */
  numberOf(key: string): number | undefined {
    return this.#outbox.entries.find((entry) => this.#keyOf(entry) === key)?.csn;
  }

  /** A subscription says which number was accepted last. */
  sync(last: number): void {
    this.#outbox.sync(last);
  }

  /** The stream goes on from this cursor on a new connection, which has not seen what the one before delivered. */
  resumed(cursor: Cursor): void {
    this.#resumed = cursor;
  }

  disconnected(): void {
    this.#outbox.disconnected(this.#region || this.host.region());
    this.#region = "";
  }

  /** Sends what may leave now. */
  pump(): void {
    if (!this.client.connected) return;
    this.#report(this.#outbox.expire(this.client.platform.now()));
    for (const { entry, follows } of this.#outbox.take(this.client.platform.now())) {
      const seen = this.#presented();
      const args = { channel: this.channel, csn: entry.csn, follows, ...entry.args, ...(seen.length > 0 && { seen }) };
      this.client.issue(entry.command, args as Args<SendCommand>, (answer) => this.#answered(entry, seen, answer));
    }
    this.#schedule();
  }

  /** An own item came in the stream. */
  arrived(item: Item): void {
    const csn = item.csn!;
    this.#report(this.#outbox.accepted(csn, item.id));
    this.#echoes = this.#echoes.filter(({ entry }) => entry.csn !== csn);
  }

  /** What answers proved: presented with the next send. */
  get seen(): string[] {
    return this.#presented();
  }

  /** A page was shown. */
  sawPage(token: Token | undefined): void {
    if (token) this.#keep({ value: token, page: true });
  }

  /** The list is dropped: what was accepted is on the pages that are shown instead. */
  reset(): void {
    this.#echoes = this.#echoes.filter(({ event }) => event === undefined);
    this.#seen = [];
    this.#resumed = undefined;
  }

  /** The device is another one. */
  abandon(reason: string): void {
    this.#report(this.#outbox.abandon({ code: "expired", reason, final: true }));
    this.reset();
  }

  #answered(entry: Entry, presented: string[], answer: Answer<SendCommand>): void {
    if ("lost" in answer) return;
    const now = this.client.platform.now();
    if ("error" in answer) {
      this.#report(this.#outbox.refused(entry, answer.error, now));
    } else {
      const { event, token } = answer.ok;
      this.#region = event.split(".")[0]!;
      if (token) this.#replace(presented, token);
      this.#report(this.#outbox.accepted(entry.csn, event));
    }
    this.pump();
    this.host.changed();
  }

  /** Up to eight: what answers proved, and after a reconnect the cursor. */
  #presented(): string[] {
    const cursor = this.#resumed === undefined ? [] : [this.#resumed];
    return [...cursor, ...this.#seen.map(({ value }) => value)].slice(0, MOST_SEEN);
  }

  /** The answer's token covers those presented. */
  #replace(presented: string[], token: Token): void {
    this.#seen = this.#seen.filter(({ value }) => !presented.includes(value));
    if (this.#resumed !== undefined && presented.includes(this.#resumed)) this.#resumed = undefined;
    this.#keep({ value: token, page: false });
  }

  #keep(seen: Seen): void {
    this.#seen = this.#seen.filter(({ value }) => value !== seen.value);
    if (this.#seen.length >= MOST_SEEN - 1) {
      const first = this.#seen.findIndex(({ page }) => page);
      this.#seen.splice(Math.max(0, first), 1);
    }
    this.#seen.push(seen);
  }

  #report(all: Settled[]): void {
    for (const settled of all) {
      this.#echo(settled);
      this.#done.get(settled.entry)?.(settled.outcome);
      this.#done.delete(settled.entry);
      this.host.settled(settled);
    }
  }

  /** What a settled send looks like from now on. */
  #echo({ entry, outcome }: Settled): void {
    const others = this.#echoes.filter((echo) => echo.entry !== entry);
    const { command, args } = entry;
    if (outcome.is === "accepted") {
      if (command === "react") this.host.reacted(String(args.event), String(args.emoji), args.on === true);
      const stays = command !== "react" && this.host.streams;
      const known = this.#echoes.some((echo) => echo.entry === entry);
      this.#echoes = stays && known ? inOrder([...others, { entry, event: outcome.event }]) : others;
      return;
    }
    const failed = { status: outcome.is, error: outcome.error };
    this.#echoes = command === "send" ? inOrder([...others, { entry, failed }]) : others;
    const many = this.#echoes.filter((echo) => echo.failed).length - MOST_FAILED;
    if (many > 0) this.#echoes.splice(this.#echoes.findIndex((echo) => echo.failed), 1);
  }

  #schedule(): void {
    this.#wake?.();
    const now = this.client.platform.now();
    const at = this.#outbox.wake(now);
    // Timers of more than 24 days end at once; a day will do.
    this.#wake = at === undefined ? undefined : this.client.platform.after(Math.min(at - now, 86_400_000), () => this.pump());
  }

  #keyOf({ csn }: Entry): string {
    return `${this.client.own().device}:${csn}`;
  }
}

function inOrder<T extends { entry: Entry }>(echoes: T[]): T[] {
  return echoes.sort((a, b) => a.entry.csn - b.entry.csn);
}
