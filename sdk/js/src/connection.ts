// One socket at a time to the server: opens it, answers its end, opens the next. Knows frames and requests, and nothing of channels.

import { pause } from "./backoff.js";
import { type Codec, type Incoming, sizeOf } from "./codec.js";
import { type EndReason, endOf } from "./errors.js";
import type { Platform, Socket } from "./platform.js";
import type { Args, CommandName, ErrorFrame, Limits, Ok, Push, Resume, Welcome } from "./protocol.js";

/** Milliseconds within which a socket opens and is welcomed. */
const OPENING = 15_000;
/** A request without an answer for so long: the connection is dead. The server itself waits up to five seconds for other regions. */
const ANSWERING = 20_000;
/** How often that is looked at. */
const LOOKING = 2_500;
/** The server's pings are not seen by a browser: silence of so many of their intervals is asked about. */
const SILENT = 2;
/** After so long a connection counts as good, and the next pause is the shortest again. */
const STABLE = 10_000;
/** What a frame may have before the server has said it. */
const FRAME = 64 * 1024;

export type ConnectionState =
  /** Not started. */
  | "idle"
  | "connecting"
  | "connected"
  /** Lost; the next attempt is coming. */
  | "waiting"
  /** It ended for good. */
  | "closed";

export type Answer<C extends CommandName> = { ok: Ok<C> } | { error: ErrorFrame } | { lost: true };

/** Something that went wrong and is dealt with; for logs. */
export interface Problem {
  what: "bad_frame" | "unknown_push" | "storage" | "token" | "gap" | "connect" | "resume";
  reason: string;
  channel?: string;
}

export interface ConnectionHost {
  token(): Promise<string>;
  /** Asked just before `connect` is sent. */
  hello(): { device: string; resume: Resume[] };
  welcome(welcome: Welcome): void;
  push(push: Push): void;
  /** The socket is gone; requests that it carried are answered with `lost` before. */
  lost(): void;
  changed(state: ConnectionState): void;
  ended(reason: EndReason, detail: string): void;
  problem(problem: Problem): void;
  /** Issues a command that changes nothing. */
  sign(done: () => void): void;
  /** Is a new token to be had after one that was refused? */
  readonly renews: boolean;
}

interface Request {
  since: number;
  done(answer: { ok: unknown } | { error: ErrorFrame } | { lost: true }): void;
}

export class Connection {
  state: ConnectionState = "idle";
  limits: Limits = {};
  /** The server's clock minus ours, in milliseconds. */
  ahead = 0;
  readonly #requests = new Map<number, Request>();
  #socket: Socket | undefined;
  #id = 0;
  #attempt = 0;
  #since = 0;
  #heard = 0;
  #ping = 25_000;
  #probing = false;
  /** The server asked for a pause. */
  #pause: number | undefined;
  #cancel: (() => void) | undefined;
  #generation = 0;
  #expired = 0;

  constructor(
    private readonly url: string,
    private readonly codec: Codec,
    private readonly platform: Platform,
    private readonly host: ConnectionHost,
  ) {}

  start(): void {
    if (this.state === "idle") void this.#open();
  }

  /** Ends it for good. */
  end(reason: EndReason, detail = ""): void {
    if (this.state === "closed") return;
    this.#drop(1000);
    this.#become("closed");
    this.host.ended(reason, detail);
  }

  /** Connects again at once, as after a change of the network. */
  restart(): void {
    if (this.state === "connected") this.#retry("asked to");
    if (this.state !== "waiting") return;
    this.#cancel?.();
    void this.#open();
  }

  /** Asks for a sign of life; without one within a few seconds it connects again. For when the network or the tab came back. */
  probe(): void {
    if (this.state === "waiting") return this.restart();
    if (this.state !== "connected" || this.#probing) return;
    this.#probing = true;
    const since = this.platform.now();
    this.host.sign(() => (this.#probing = false));
    const generation = this.#generation;
    this.platform.after(5_000, () => {
      if (generation === this.#generation && this.#heard < since) this.#retry("no sign of life");
    });
  }

  /** Sends a command; `done` is called once, with `lost` when the connection ended before an answer. False: there is no connection. */
  issue<C extends CommandName>(name: C, args: Args<C>, done: (answer: Answer<C>) => void): boolean {
    if (this.state !== "connected") return false;
    this.#transmit(name, args, done as Request["done"]);
    return true;
  }

  #transmit(name: CommandName, args: object, done: Request["done"]): void {
    const id = ++this.#id;
    let data: string | Uint8Array;
    try {
      data = this.codec.command(id, name, args);
    } catch (error) {
      return done({ error: { code: "malformed", reason: String(error), final: true } });
    }
    const most = this.limits.frame ?? FRAME;
    if (sizeOf(data, most) > most) {
      // The server would close the connection for it.
      return done({ error: { code: "too_large", reason: `a frame has at most ${most} bytes`, final: true } });
    }
    this.#requests.set(id, { since: this.platform.now(), done });
    this.#socket?.send(data);
  }

  async #open(): Promise<void> {
    const generation = ++this.#generation;
    this.#become("connecting");
    let token: string;
    try {
      token = await this.host.token();
    } catch (error) {
      this.host.problem({ what: "token", reason: String(error) });
      if (generation === this.#generation) this.#again();
      return;
    }
    if (generation !== this.#generation) return;
    this.#cancel = this.platform.after(OPENING, () => this.#retry("it did not answer in time"));
    const current = (call: () => void) => () => (generation === this.#generation ? call() : undefined);
    try {
      this.#socket = this.platform.open(this.url, this.codec.subprotocol, {
        open: current(() => this.#hello(token)),
        message: (data) => current(() => this.#receive(data))(),
        close: (code, reason) => current(() => this.#closed(code, reason))(),
      });
    } catch (error) {
      this.end("refused", String(error));
    }
  }

  #hello(token: string): void {
    this.#transmit("connect", { token, ...this.host.hello() }, (answer) => {
      if ("ok" in answer) this.#welcomed(answer.ok as Welcome);
      else if ("error" in answer) this.#refused(answer.error);
    });
  }

  #welcomed(welcome: Welcome): void {
    this.#cancel?.();
    const now = this.platform.now();
    [this.#since, this.#heard, this.#probing, this.#pause, this.#expired] = [now, now, false, undefined, 0];
    this.limits = welcome.limits ?? {};
    this.#ping = Math.max(1_000, welcome.ping || this.#ping);
    this.ahead = welcome.time ? welcome.time - now : 0;
    this.#become("connected");
    this.#watch(this.#generation);
    this.host.welcome({ ...welcome, channels: welcome.channels ?? [], calls: welcome.calls ?? [] });
  }

  #refused(error: ErrorFrame): void {
    if (!error.final) {
      this.#pause = error.retry_after;
      return this.#retry(error.reason ?? error.code);
    }
    // A provider is asked for a new token, once: one that hands out the same again would be asked for ever.
    if (this.host.renews && ["expired", "unauthorized"].includes(error.code) && this.#expired++ === 0) return this.#retry(error.code);
    const reasons: Record<string, EndReason> = { unauthorized: "unauthorized", expired: "expired" };
    this.end(reasons[error.code] ?? "refused", error.reason ?? error.code);
  }

  /** Looks now and then whether the server is still there. */
  #watch(generation: number): void {
    this.#cancel = this.platform.after(LOOKING, () => {
      if (generation !== this.#generation) return;
      const now = this.platform.now();
      if (now - this.#since >= STABLE) this.#attempt = 0;
      const oldest = Math.min(...[...this.#requests.values()].map(({ since }) => since), Number.POSITIVE_INFINITY);
      if (now - oldest >= ANSWERING) return this.#retry("no answer");
      if (now - this.#heard >= SILENT * this.#ping) this.probe();
      this.#watch(generation);
    });
  }

  #receive(data: string | Uint8Array): void {
    this.#heard = this.platform.now();
    let frame: Incoming;
    try {
      frame = this.codec.parse(data);
    } catch (error) {
      this.host.problem({ what: "bad_frame", reason: error instanceof Error ? error.message : String(error) });
      return;
    }
    if ("unknown" in frame) this.host.problem({ what: "unknown_push", reason: frame.unknown });
    else if ("push" in frame) this.#pushed(frame);
    else this.#answered(frame);
  }

  #answered(frame: { id: number; ok: unknown } | { id: number; error: ErrorFrame }): void {
    const request = this.#requests.get(frame.id);
    this.#requests.delete(frame.id);
    request?.done("error" in frame ? { error: frame.error } : { ok: frame.ok });
  }

  #pushed(push: Push): void {
    if (this.state !== "connected") return;
    if (push.push !== "goaway") return this.host.push(push);
    this.#pause = push.data.retry_after ?? 0;
    this.#retry(push.data.why ?? "the server asked to");
  }

  #closed(code: number, reason: string): void {
    const end = endOf(code);
    // What the server said before it closed is a better reason than the code of a network that broke.
    if (end === "unauthorized" && this.host.renews && this.#expired++ === 0) return this.#retry(reason);
    if (end) return this.end(end, reason);
    this.#retry(reason || `closed with ${code}`);
  }

  #retry(reason: string): void {
    if (this.state === "closed") return;
    if (this.state === "connecting") this.host.problem({ what: "connect", reason });
    this.#drop(1000);
    this.#again();
  }

  #again(): void {
    const own = pause(this.#attempt++, this.platform.random());
    // A server that asks all its clients for the same pause gets them spread over half of it.
    const asked = this.#pause === undefined ? 0 : Math.round(this.#pause * (1 + this.platform.random() / 2));
    this.#pause = undefined;
    this.#become("waiting");
    this.#cancel = this.platform.after(Math.max(own, asked), () => void this.#open());
  }

  /** Forgets the socket and answers everything that it carried. */
  #drop(code: number): void {
    this.#generation++;
    this.#cancel?.();
    const socket = this.#socket;
    this.#socket = undefined;
    try {
      socket?.close(code);
    } catch {
      // It was not open yet: its end is nobody's business any more.
    }
    const connected = this.state === "connected";
    if (connected) this.state = "waiting";
    const open = [...this.#requests.values()];
    this.#requests.clear();
    for (const { done } of open) done({ lost: true });
    if (connected) this.host.lost();
  }

  #become(state: ConnectionState): void {
    this.state = state;
    this.host.changed(state);
  }
}
