import { Emitter } from "./emitter.js";
import type { Answer } from "./connection.js";
import type { Platform } from "./platform.js";
import { MOST_WATCHED, type Name, type Pushes } from "./protocol.js";

/** What is shown changes while a list scrolls: so many milliseconds of it are one frame. */
const SETTLING = 100;

type Issue = (name: "presence", args: { watch: Name[] }, done: (answer: Answer<"presence">) => void) => boolean;

/** Who of those on the screen is there. */
export class Presence extends Emitter<{ change: void }> {
  #watched: readonly Name[] = [];
  #there = new Set<Name>();
  #settling = false;

  constructor(
    private readonly platform: Platform,
    private readonly issue: Issue,
  ) {
    super();
  }

  /** Those who are on the screen, at most 100; the rest is left out. Replaces those before. */
  watch(users: Iterable<Name>): void {
    this.#watched = [...new Set(users)].slice(0, MOST_WATCHED);
    if (this.#settling) return;
    this.#settling = true;
    this.platform.after(SETTLING, () => {
      this.#settling = false;
      this.tell();
    });
  }

  isThere(user: Name): boolean {
    return this.#there.has(user);
  }

  /** Tells the server who is watched; `done` when it answered. */
  tell(done: () => void = () => {}): void {
    const watch = [...this.#watched];
    this.issue("presence", { watch }, (answer) => {
      if ("ok" in answer) {
        this.#there = new Set(answer.ok.there);
        this.emit("change", undefined);
      }
      done();
    });
  }

  /** After a new connection. */
  resume(): void {
    if (this.#watched.length > 0) this.tell();
  }

  push({ changes }: Pushes["presence"]): void {
    for (const { user, there } of changes) {
      if (there) this.#there.add(user);
      else this.#there.delete(user);
    }
    this.emit("change", undefined);
  }
}
