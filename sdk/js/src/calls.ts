import { Emitter } from "./emitter.js";
import type { CallFrame, Commands, Name, Ok } from "./protocol.js";

type CallCommand = "call.invite" | "call.accept" | "call.decline" | "call.cancel" | "call.end";

/** What calls need of the client. */
export interface CallsHost {
  request<C extends CallCommand>(command: C, args: Commands[C][0]): Promise<Ok<C>>;
  own(): { user: Name; device: Name };
  id(): string;
}

/** Steps after which a call rings no more here. */
const OVER = new Set(["stopped", "declined", "missed", "ended"]);

/** Calls that ring, and those that run. */
export class Calls extends Emitter<{ change: void; step: CallFrame }> {
  readonly #calls = new Map<Name, CallFrame>();

  constructor(private readonly host: CallsHost) {
    super();
  }

  /** Calls that ring for us on this device. */
  get ringing(): CallFrame[] {
    const { user } = this.host.own();
    return [...this.#calls.values()].filter((call) => call.stage === "ringing" && call.from !== user);
  }

  /** The last step that we heard of a call. */
  get(call: Name): CallFrame | undefined {
    return this.#calls.get(call);
  }

  /** Rings `users`, or all members of the channel. The answer names the room of the call and a token for it, where there is one. */
  async invite(channel: Name, { users, media, call = this.host.id() }: { users?: Name[]; media?: string; call?: Name } = {}): Promise<CallFrame> {
    const ok = await this.host.request("call.invite", { channel, call, users, media });
    return this.#answered(ok.call, channel, call);
  }

  /** Takes the call on this device; the others of ours stop ringing. */
  accept(call: Name): Promise<CallFrame> {
    return this.#act("call.accept", call);
  }

  decline(call: Name): Promise<CallFrame> {
    return this.#act("call.decline", call);
  }

  /** Gives up an invitation of ours. */
  cancel(call: Name): Promise<CallFrame> {
    return this.#act("call.cancel", call);
  }

  /** The call is over for everybody. */
  end(call: Name): Promise<CallFrame> {
    return this.#act("call.end", call);
  }

  /** What rings or runs, as `connect` says: what is not named has ended meanwhile. */
  welcome(calls: CallFrame[]): void {
    const gone = [...this.#calls.values()].filter((old) => !calls.some((call) => call.call === old.call));
    this.#calls.clear();
    for (const call of calls) this.#calls.set(call.call, call);
    for (const call of gone) this.emit("step", { ...call, stage: "ended" });
    this.emit("change", undefined);
  }

  push(step: CallFrame): void {
    const { user, device } = this.host.own();
    const known = this.#calls.get(step.call);
    // Another of our devices took it or declined.
    const elsewhere = step.user === user && step.stage === "accepted" && step.device !== undefined && step.device !== device;
    const mine = step.user === undefined || step.user === user || step.stage === "ended";
    if (elsewhere || (OVER.has(step.stage) && mine)) this.#calls.delete(step.call);
    else this.#calls.set(step.call, { ...known, ...step });
    this.emit("step", step);
    this.emit("change", undefined);
  }

  async #act(command: Exclude<CallCommand, "call.invite">, call: Name): Promise<CallFrame> {
    const channel = this.#calls.get(call)?.channel ?? "";
    const ok = await this.host.request(command, { channel, call });
    return this.#answered(ok.call, channel, call);
  }

  #answered(answer: CallFrame | undefined, channel: Name, call: Name): CallFrame {
    const { user } = this.host.own();
    const frame: CallFrame = { ...(this.#calls.get(call) ?? { from: user, stage: "ringing" }), ...answer, channel, call };
    if (OVER.has(frame.stage)) this.#calls.delete(call);
    else this.#calls.set(call, frame);
    this.emit("change", undefined);
    return frame;
  }
}
