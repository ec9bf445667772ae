import { covers, higher, parseId } from "./place.js";
import type { Counts, EventId, Mark, Name, Position, Pushes } from "./protocol.js";

/** Messages whose counts are remembered. */
const MOST_COUNTED = 200;

/** Who, or how many, have read a message. */
export interface Receipt {
  read: number;
  delivered: number;
  /** Some who have read it, or all. */
  names: readonly Name[];
  /** The numbers are rounded. */
  approx: boolean;
}

/** The marks and counts of one channel, as far as the server tells them. */
export class Receipts {
  readonly #marks = new Map<Name, { read: Position; delivered: Position }>();
  readonly #counts = new Map<EventId, Counts>();

  mark({ user, read, delivered }: Mark): void {
    const known = this.#marks.get(user);
    this.#marks.set(user, { read: higher(known?.read, read), delivered: higher(known?.delivered, delivered) });
  }

  push({ marks, counts }: Pushes["receipts"]): void {
    for (const mark of marks ?? []) this.mark(mark);
    for (const count of counts ?? []) {
      this.#counts.delete(count.event);
      this.#counts.set(count.event, count);
    }
    for (const event of this.#counts.keys()) {
      if (this.#counts.size <= MOST_COUNTED) break;
      this.#counts.delete(event);
    }
  }

  clear(): void {
    this.#counts.clear();
  }

  /** Up to where somebody has read. */
  readOf(user: Name): Position | undefined {
    return this.#marks.get(user)?.read;
  }

  /** Who and how many others than its sender have received and read a message. */
  of(event: EventId, sender: Name | undefined): Receipt {
    const place = parseId(event);
    const others = [...this.#marks].filter(([user]) => user !== sender);
    const readers = place ? others.filter(([, { read }]) => covers(read, place)).map(([user]) => user) : [];
    const receivers = place ? others.filter(([, { read, delivered }]) => covers(delivered, place) || covers(read, place)) : [];
    const counts = this.#counts.get(event);
    return {
      read: Math.max(readers.length, counts?.read ?? 0),
      delivered: Math.max(receivers.length, counts?.delivered ?? 0),
      names: counts?.names ?? readers,
      approx: counts?.approx === true,
    };
  }
}
