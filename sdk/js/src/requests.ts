import type { Answer, Connection } from "./connection.js";
import { type EndReason, MessagingError } from "./errors.js";
import type { Platform } from "./platform.js";
import type { Args, CommandName, Ok } from "./protocol.js";

/** How long a request is asked. Milliseconds. */
const TIMEOUT = 60_000;
/** A temporary refusal that names no time. Milliseconds. */
const RETRY = 1_000;

interface Asked {
  name: CommandName;
  args: object;
  waiting: boolean;
  resolve(ok: unknown): void;
  reject(error: MessagingError): void;
  stop(): void;
}

/** Requests that are asked again until they are answered: all of them may be, since they say what is to be, not what is to change. */
export class Requests {
  readonly #open = new Set<Asked>();

  constructor(
    private readonly platform: Platform,
    private readonly connection: Connection,
  ) {}

  ask<C extends CommandName>(name: C, args: Args<C>): Promise<Ok<C>> {
    return new Promise((resolve, reject) => {
      if (this.connection.state === "closed") return reject(new MessagingError("closed", "the client has ended"));
      const asked: Asked = { name, args, waiting: true, resolve: resolve as Asked["resolve"], reject, stop: () => {} };
      const cancel = this.platform.after(TIMEOUT, () => {
        this.#forget(asked);
        reject(new MessagingError("timeout", `\`${name}\` had no answer within a minute`, false));
      });
      asked.stop = cancel;
      this.#open.add(asked);
      this.#issue(asked);
    });
  }

  /** There is a connection again. */
  resume(): void {
    for (const asked of [...this.#open]) this.#issue(asked);
  }

  end(reason: EndReason): void {
    for (const asked of [...this.#open]) {
      this.#forget(asked);
      asked.reject(new MessagingError("closed", reason));
    }
  }

  #issue(asked: Asked): void {
    if (!asked.waiting || !this.#open.has(asked)) return;
    asked.waiting = false;
    const issued = this.connection.issue(asked.name, asked.args as never, (answer) => this.#answered(asked, answer));
    if (!issued) asked.waiting = true;
  }

  #answered(asked: Asked, answer: Answer<CommandName>): void {
    if ("lost" in answer) {
      asked.waiting = true;
      return;
    }
    if ("error" in answer && !answer.error.final) {
      asked.waiting = true;
      this.platform.after(answer.error.retry_after ?? RETRY, () => this.#issue(asked));
      return;
    }
    this.#forget(asked);
    if ("ok" in answer) asked.resolve(answer.ok);
    else asked.reject(MessagingError.of(answer.error));
  }

  #forget(asked: Asked): void {
    asked.stop();
    this.#open.delete(asked);
  }
}
