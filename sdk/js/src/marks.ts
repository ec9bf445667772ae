import type { Answer } from "./connection.js";
import type { Platform } from "./platform.js";
import type { Cursor, EventId, Name, Ok } from "./protocol.js";

/** Marks of a channel are told at most so often. Milliseconds. */
const WINDOW = 2_000;

interface Mark {
  cursor?: Cursor;
  upto?: EventId;
  delivered?: Cursor;
}

/** Where marks go. */
export interface MarksHost {
  issue(name: "read", args: Mark & { channel: Name }, done: (answer: Answer<"read">) => void): boolean;
  marked(channel: Name, ok: Ok<"read">): void;
}

/** Read and delivered marks of all channels, gathered: the last of each is told. */
export class Marks {
  readonly #due = new Map<Name, Mark>();
  #told = Number.NEGATIVE_INFINITY;
  #waiting = false;

  constructor(
    private readonly platform: Platform,
    private readonly host: MarksHost,
  ) {}

  /** A later mark replaces an earlier one: whoever calls knows that it is higher. */
  mark(channel: Name, mark: Mark): void {
    const { upto: _, ...old } = this.#due.get(channel) ?? {};
    this.#due.set(channel, mark.cursor ? { ...old, ...mark } : { ...this.#due.get(channel), ...mark });
    this.#schedule();
  }

  /** The channel's marks mean nothing any more. */
  forget(channel: Name): void {
    this.#due.delete(channel);
  }

  /** There is a connection again. */
  resume(): void {
    this.#schedule();
  }

  #schedule(): void {
    if (this.#waiting || this.#due.size === 0) return;
    this.#waiting = true;
    const wait = Math.max(0, this.#told + WINDOW - this.platform.now());
    this.platform.after(wait, () => {
      this.#waiting = false;
      this.#flush();
    });
  }

  #flush(): void {
    for (const [channel, mark] of [...this.#due]) {
      const issued = this.host.issue("read", { channel, ...mark }, (answer) => {
        if ("ok" in answer) return this.host.marked(channel, answer.ok);
        if ("error" in answer && answer.error.final) return;
        // What came meanwhile is higher.
        this.#due.set(channel, { ...mark, ...this.#due.get(channel) });
        if ("error" in answer) this.#schedule();
      });
      // Without a connection it waits for the next one.
      if (!issued) return;
      this.#told = this.platform.now();
      this.#due.delete(channel);
    }
  }
}
