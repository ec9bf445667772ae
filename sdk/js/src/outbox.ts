// What a device sends in one channel, in order: numbers, what each follows, what is sent again and what is given up. A value: it is told
// the time and what happened, and says what is to be sent.

import type { ErrorFrame, EventId, SendCommand } from "./protocol.js";

/** A send without an answer for this long is given up. Milliseconds: 7 days. */
export const GIVEN_UP = 7 * 24 * 3_600_000;
/** Sends of a channel that are on their way at a time; the server answers up to 256. */
const IN_FLIGHT = 64;
/** Accepted numbers whose ids are remembered, for references to them. */
const REMEMBERED = 256;
/** A temporary refusal that does not say when to try again. Milliseconds. */
const RETRY_AFTER = 1_000;

/** Which of the arguments name an event. */
const REFERENCES = ["event", "reply_to", "thread"] as const;
export type Reference = (typeof REFERENCES)[number];

/** A send. */
export interface Entry {
  csn: number;
  readonly command: SendCommand;
  /** Without channel, numbers and `seen`. */
  readonly args: Record<string, unknown>;
  /** Arguments that name an own send which has no id yet, by its number. */
  refs: Partial<Record<Reference, number>>;
  /** When it was made. */
  readonly at: number;
  /** It is on its way on the present connection. */
  flying: boolean;
  /** It was on its way once. */
  flown: boolean;
  /** The regions that an unanswered copy was tried in; "": not known. */
  lost: string[];
}

/** What became of a send. */
export type Outcome =
  | { is: "accepted"; event: EventId }
  /** It was not stored, and will not be. */
  | { is: "refused"; error: ErrorFrame }
  /** A copy of it may have been stored: an earlier one had no answer, and a later one was refused. */
  | { is: "unknown"; error: ErrorFrame };

export interface Settled {
  entry: Entry;
  outcome: Outcome;
}

/** What is kept of an outbox over a reload. */
export interface SavedOutbox {
  last: number;
  next: number;
  entries: Omit<Entry, "flying">[];
}

export class Outbox {
  /** What has no answer, in order. */
  entries: Entry[] = [];
  /** The last number that the server accepted, as it said last. */
  #last = 0;
  /** The highest number in use. */
  #highest = 0;
  /** Nothing leaves before. */
  #heldUntil = 0;
  readonly #ids = new Map<number, EventId>();
  /** Refused, with copies that had no answer. */
  #unknown: Settled[] = [];

  save(): SavedOutbox {
    return { last: this.#last, next: this.#highest, entries: this.entries.map(({ flying: _, ...entry }) => entry) };
  }

  restore({ last, next, entries }: SavedOutbox): void {
    this.#last = last;
    this.#highest = Math.max(next, last);
    // Whoever kept it may have left before an answer came.
    const lost = (entry: { flown: boolean; lost: string[] }) => (entry.flown && entry.lost.length === 0 ? [""] : entry.lost);
    this.entries = entries.map((entry) => ({ ...entry, flying: false, lost: lost(entry) }));
  }

  /** A new send; `event`, `reply_to` and `thread` may be the number of an own one. */
  compose(now: number, command: SendCommand, args: Record<string, unknown>): Entry {
    const entry: Entry = { csn: ++this.#highest, command, args: { ...args }, refs: {}, at: now, flying: false, flown: false, lost: [] };
    for (const key of REFERENCES) {
      const named = entry.args[key];
      if (typeof named !== "number") continue;
      const id = this.#ids.get(named);
      if (id === undefined) entry.refs[key] = named;
      entry.args[key] = id;
    }
    this.entries.push(entry);
    return entry;
  }

  /** The server says which number it accepted last. */
  sync(last: number): void {
    this.#last = last;
    this.#highest = Math.max(this.#highest, last);
  }

  /** What is to be sent now, in order, with the number that each follows. */
  take(now: number): { entry: Entry; follows: number }[] {
    const out: { entry: Entry; follows: number }[] = [];
    if (now < this.#heldUntil) return out;
    let follows = this.#last;
    let flying = 0;
    for (const entry of this.entries) {
      if (Object.keys(entry.refs).length > 0 || ++flying > IN_FLIGHT) break;
      if (!entry.flying) {
        [entry.flying, entry.flown] = [true, true];
        out.push({ entry, follows: entry.csn > this.#last ? follows : Math.min(entry.csn - 1, this.#last) });
      }
      follows = Math.max(follows, entry.csn);
    }
    return out;
  }

  /** When to ask again what is to be sent, or given up. */
  wake(now: number): number | undefined {
    const first = this.entries[0];
    if (!first) return undefined;
    return now < this.#heldUntil ? this.#heldUntil : first.at + GIVEN_UP;
  }

  /** The connection is gone, which stood in this region ("": not known). */
  disconnected(region: string): void {
    this.#heldUntil = 0;
    for (const entry of this.entries.filter((each) => each.flying)) {
      entry.flying = false;
      if (!entry.lost.includes(region)) entry.lost.push(region);
    }
  }

  /** A send was stored: as its answer says, or the stream. */
  accepted(csn: number, event: EventId): Settled[] {
    this.#last = Math.max(this.#last, csn);
    this.#remember(csn, event);
    const region = event.split(".")[0]!;
    const settled = this.#resolve(csn, region);
    const entry = this.entries.find((each) => each.csn === csn);
    if (!entry) return settled;
    this.entries = this.entries.filter((each) => each !== entry);
    for (const waiting of this.entries) {
      for (const key of REFERENCES) {
        if (waiting.refs[key] !== csn) continue;
        delete waiting.refs[key];
        waiting.args[key] = event;
      }
    }
    return [...settled, { entry, outcome: { is: "accepted", event } }];
  }

  /** A send was refused. Empty: it is to be sent again. */
  refused(entry: Entry, error: ErrorFrame, now: number): Settled[] {
    entry.flying = false;
    if (!this.entries.includes(entry)) return [];
    if (error.code === "csn_gap") {
      this.sync(error.last ?? this.#last);
      return [];
    }
    if (error.code === "csn_conflict" || (error.code === "csn_stale" && entry.lost.length === 0)) {
      this.#renumber(entry);
      return [];
    }
    if (!error.final) {
      this.#heldUntil = Math.max(this.#heldUntil, now + (error.retry_after ?? RETRY_AFTER));
      return [];
    }
    return this.#drop(entry, error);
  }

  /** Gives up what is too old. */
  expire(now: number): Settled[] {
    const old = this.entries.filter((entry) => now - entry.at >= GIVEN_UP);
    return old.flatMap((entry) => this.#drop(entry, { code: "expired", reason: "no answer within seven days", final: true }));
  }

  /** Gives up everything: the device is another one from now on. */
  abandon(error: ErrorFrame): Settled[] {
    const all = this.entries.flatMap((entry) => (this.entries.includes(entry) ? this.#drop(entry, error) : []));
    [this.#last, this.#highest, this.#heldUntil, this.#unknown] = [0, 0, 0, []];
    this.#ids.clear();
    return all;
  }

  /** Reports a send that is not tried any more, and those that name it. */
  #drop(entry: Entry, error: ErrorFrame): Settled[] {
    this.entries = this.entries.filter((each) => each !== entry);
    const maybe = entry.lost.length > 0;
    const settled: Settled = { entry, outcome: { is: maybe ? "unknown" : "refused", error } };
    if (maybe) this.#unknown.push(settled);
    const orphans = this.entries.filter((each) => Object.values(each.refs).includes(entry.csn));
    const lack: ErrorFrame = { code: "no_target", reason: "what it names was not sent", final: true };
    return [settled, ...orphans.flatMap((orphan) => this.#drop(orphan, lack))];
  }

  /** A later number was accepted where the copies of these were tried: none of them was stored. */
  #resolve(csn: number, region: string): Settled[] {
    const clear = ({ entry }: Settled) => entry.csn < csn && entry.lost.every((tried) => tried === region);
    const resolved = this.#unknown.filter(clear);
    this.#unknown = this.#unknown.filter((each) => !resolved.includes(each) && each.entry.csn !== csn);
    return resolved.map(({ entry, outcome }) => ({
      entry,
      outcome: { is: "refused", error: (outcome as { error: ErrorFrame }).error },
    }));
  }

  /** Its number is another message's: an older state of the storage came back. What follows moves with it. */
  #renumber(from: Entry): void {
    const moved = new Map<number, number>();
    for (const entry of this.entries.slice(this.entries.indexOf(from)).filter((each) => each === from || each.lost.length === 0)) {
      moved.set(entry.csn, ++this.#highest);
      entry.csn = this.#highest;
    }
    for (const entry of this.entries) {
      for (const key of REFERENCES) entry.refs[key] = moved.get(entry.refs[key] ?? -1) ?? entry.refs[key];
      for (const key of REFERENCES) if (entry.refs[key] === undefined) delete entry.refs[key];
    }
    this.entries.sort((a, b) => a.csn - b.csn);
  }

  #remember(csn: number, event: EventId): void {
    this.#ids.set(csn, event);
    if (this.#ids.size > REMEMBERED) this.#ids.delete(this.#ids.keys().next().value!);
  }
}
