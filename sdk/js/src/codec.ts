import { decode, encode } from "./cbor.js";
import { type CommandName, type ErrorFrame, type Push, type PushName, VERSION } from "./protocol.js";

export type Encoding = "json" | "cbor";

/** A frame of the server. */
export type Incoming =
  | { id: number; ok: unknown }
  | { id: number; error: ErrorFrame }
  | Push
  /** Nothing that this version knows: passed over. */
  | { unknown: string };

export interface Codec {
  readonly subprotocol: string;
  command(id: number, name: CommandName, args: object): string | Uint8Array;
  /** Throws for what is no frame. */
  parse(data: string | Uint8Array): Incoming;
}

export function codecOf(encoding: Encoding): Codec {
  const cbor = encoding === "cbor";
  return {
    subprotocol: cbor ? "stoa.v1.cbor" : "stoa.v1.json",
    command(id, name, args) {
      const frame = { v: VERSION, id, [name]: args };
      return cbor ? encode(frame) : JSON.stringify(frame);
    },
    parse(data) {
      if ((typeof data === "string") === cbor) throw new Error(cbor ? "text where CBOR is spoken" : "bytes where JSON is spoken");
      return frameOf(typeof data === "string" ? JSON.parse(data) : decode(data));
    },
  };
}

/** Length in bytes of what goes out. */
export function sizeOf(data: string | Uint8Array, enough: number): number {
  if (typeof data !== "string") return data.length;
  // Three bytes are the most that a unit of UTF-16 becomes.
  return data.length * 3 <= enough ? data.length : new TextEncoder().encode(data).length;
}

/** Which keys a push must have, of which type; arrays hold maps, `names` are texts. */
const PUSHES: Record<PushName, Record<string, Check>> = {
  events: { channel: isText, cursor: isText, items: isMaps },
  touch: { channel: isText, unread: isNumber, mentions: isNumber },
  receipts: { channel: isText, marks: optional(isMaps), counts: optional(isMaps) },
  typing: { channel: isText, users: isTexts, more: optional(isNumber) },
  presence: { changes: isMaps },
  told: { channel: isText, name: isText, from: optional(isMap) },
  channel: { channel: isText, state: isMap },
  call: { channel: isText, call: isText, from: isText, stage: isText },
  reset: { channel: isText, why: isText, cursor: isText },
  removed: { channel: isText },
  goaway: { retry_after: optional(isNumber) },
};

type Check = (value: unknown) => boolean;

function frameOf(value: unknown): Incoming {
  if (!isMap(value)) throw new Error("a frame is a map");
  const frame = withoutNulls(value) as Record<string, unknown>;
  if (frame.v !== undefined && (!isNumber(frame.v) || (frame.v as number) > VERSION)) throw new Error(`a frame of version ${String(frame.v)}`);
  if (frame.id !== undefined) return answerOf(frame);
  const name = Object.keys(frame).find((key) => key !== "v") ?? "";
  if (!Object.hasOwn(PUSHES, name)) return { unknown: name };
  const push = name as PushName;
  const data = frame[push];
  if (!isMap(data)) throw new Error(`\`${push}\` is no map`);
  const wrong = Object.entries(PUSHES[push]).find(([key, check]) => !check((data as Record<string, unknown>)[key]));
  if (wrong) throw new Error(`\`${wrong[0]}\` of \`${push}\` is not what it should be`);
  return { push, data } as unknown as Push;
}

function answerOf(frame: Record<string, unknown>): Incoming {
  const { id, ok, error } = frame;
  if (!isNumber(id)) throw new Error("an id is a number");
  if (error === undefined) return { id: id as number, ok: isMap(ok) ? ok : {} };
  const given = error as Partial<ErrorFrame>;
  if (!isMap(error) || !isText(given.code)) throw new Error("an error has a code");
  return { id: id as number, error: { ...given, code: given.code!, final: given.final !== false } };
}

/** What is absent may as well be null. Bodies are left as they are. */
function withoutNulls(value: unknown, key = ""): unknown {
  if (key === "body") return value;
  if (Array.isArray(value)) return value.map((each) => withoutNulls(each));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([name, each]) => each !== null || name === "body");
  return Object.fromEntries(entries.map(([name, each]) => [name, withoutNulls(each, name)]));
}

function isMap(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
function isText(value: unknown): boolean {
  return typeof value === "string";
}
function isNumber(value: unknown): boolean {
  return typeof value === "number" && Number.isFinite(value);
}
function isMaps(value: unknown): boolean {
  return Array.isArray(value) && value.every(isMap);
}
function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every(isText);
}
function optional(check: Check): Check {
  return (value) => value === undefined || check(value);
}
