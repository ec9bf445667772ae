// The frames of docs/messaging-protocol.md. The server is of a newer version now and then: what is not named here is left alone.

/** Name of a user, a device, a channel or a call: 1 to 128 bytes. */
export type Name = string;
/** `eu.3.4711`: region, epoch, number. */
export type EventId = string;
/** Where a stream stands; opaque. */
export type Cursor = string;
/** What an answer proves to have been seen; opaque, and nothing to resume from. */
export type Token = string;
/** Milliseconds since 1970. */
export type Millis = number;
/** By region, the last event of a mark. */
export type Position = Readonly<Record<string, EventId>>;
/** Anything that JSON can say, to 32 KiB. By convention `text` is what search reads. */
export type Body = unknown;

export type ChannelKind = "direct" | "group" | "live" | "inbox";
export type Role = "owner" | "moderator" | "member" | "guest";
/** How much is told of everybody: S to 32 members, M to 1,024, L above. */
export type Tier = "S" | "M" | "L";

export interface Settings {
  name?: string;
  public?: boolean;
  since_join?: boolean;
  guests_send?: boolean;
  frozen?: boolean;
  /** Milliseconds between two messages of one person. */
  slow_mode?: number;
  active_active?: boolean;
}

export interface Mark {
  user: Name;
  read?: Position;
  delivered?: Position;
}

export interface ChannelState {
  kind: ChannelKind;
  settings: Settings;
  role?: Role;
  members: number;
  tier: Tier;
  unread: number;
  mentions: number;
  marks?: Mark[];
  head?: EventId;
}

export interface Total {
  emoji: string;
  count: number;
  mine: boolean;
}

export interface From {
  user: Name;
  device: Name;
}

export type ItemKind =
  | "message" | "edit" | "delete" | "custom" | "created" | "updated" | "member" | "call" | "hole" | "folded";
export type MemberChange = "joined" | "left" | "invited" | "removed" | "role" | "muted" | "banned";

export interface Hole {
  region: string;
  epoch: number;
  /** The last one that is not missing, as `epoch.n`. */
  known?: string;
  upto: number;
}

export type Folded =
  | { kind: "reactions"; totals: (Total & { event: EventId })[] }
  | { kind: "members"; members: number };

/** One entry of a channel, in a stream or on a page. Which fields it has depends on `kind`. */
export interface Item {
  id: EventId;
  prev?: EventId;
  /** The clock, 16 hexadecimal digits, of which the first 12 are milliseconds since 1970. */
  t: string;
  count?: number;
  from?: From;
  csn?: number;
  kind: ItemKind | (string & {});
  body?: Body;
  name?: string;
  reply_to?: EventId;
  thread?: EventId;
  mentions?: Name[];
  everyone?: boolean;
  target?: EventId;
  channel_kind?: ChannelKind;
  settings?: Settings;
  user?: Name;
  change?: MemberChange;
  role?: Role;
  until?: Millis;
  call?: Name;
  stage?: string;
  /** Milliseconds. */
  talked?: number;
  hole?: Hole;
  folded?: Folded;
  late?: boolean;
  unmet?: boolean;
  alias_of?: EventId;
  edited?: boolean;
  deleted?: boolean;
  totals?: Total[];
}

export type CallStage = "ringing" | "stopped" | "accepted" | "declined" | "busy" | "missed" | "ended";

export interface CallFrame {
  channel: Name;
  call: Name;
  from: Name;
  stage: CallStage;
  user?: Name;
  device?: Name;
  room?: string;
  token?: string;
  media?: string;
}

/** What the server accepts. */
export interface Limits {
  /** Longest frame in bytes. */
  frame?: number;
  /** Longest body in bytes of JSON. */
  body?: number;
  [other: string]: unknown;
}

export interface Subscribed {
  cursor: Cursor;
  /** The last accepted send number of this device. */
  csn: number;
  state: ChannelState;
}

export interface Resume {
  channel: Name;
  cursor: Cursor;
  open?: boolean;
}

export interface ResumedChannel {
  channel: Name;
  ok?: Subscribed;
  error?: ErrorFrame;
}

export interface Welcome {
  user: Name;
  /** Milliseconds between the server's pings. */
  ping: number;
  time: Millis;
  limits: Limits;
  channels: ResumedChannel[];
  calls: CallFrame[];
}

/** A channel of one's list. */
export interface Listed {
  channel: Name;
  kind: ChannelKind;
  name?: string;
  unread: number;
  mentions: number;
  last?: Item;
  peer?: Name;
  state?: ChannelState;
}

interface Numbered {
  channel: Name;
  csn: number;
  follows?: number;
  seen?: string[];
  after?: [Name, string][];
}

export interface SendArgs extends Numbered {
  body: Body;
  kind?: "message" | "custom";
  name?: string;
  reply_to?: EventId;
  thread?: EventId;
  mentions?: Name[];
  everyone?: boolean;
}
export type EditArgs = Numbered & { event: EventId; body: Body };
export type DeleteArgs = Numbered & { event: EventId };
export type ReactArgs = Numbered & { event: EventId; emoji: string; on: boolean };

interface Accepted {
  event: EventId;
  token?: Token;
}
type InCall = [args: { channel: Name; call: Name }, ok: { call: CallFrame }];
type Page<T> = T & { page?: string };

/** Every command: what it takes and what its answer brings. */
export interface Commands {
  connect: [args: { token: string; device: Name; resume?: Resume[] }, ok: Welcome];
  subscribe: [
    args: { channel: Name; from?: "head" | { last: number } | { cursor: Cursor }; open?: boolean },
    ok: Subscribed,
  ];
  unsubscribe: [args: { channel: Name }, ok: object];
  channels: [args: { page?: string }, ok: Page<{ channels: Listed[] }>];
  send: [args: SendArgs, ok: Accepted];
  edit: [args: EditArgs, ok: Accepted];
  delete: [args: DeleteArgs, ok: Accepted];
  react: [args: ReactArgs, ok: Accepted];
  tell: [args: { channel: Name; name: string; body?: Body }, ok: object];
  read: [
    args: { channel: Name; cursor?: Cursor; upto?: EventId; delivered?: Cursor },
    ok: { read?: Position; delivered?: Position },
  ];
  history: [
    args: { channel: Name; before?: string; after?: string; around?: string; limit?: number; seen?: string[] },
    ok: { items: Item[]; token?: Token; stale?: boolean },
  ];
  search: [
    args: { channel?: Name; query: string; page?: string },
    ok: Page<{ items: { channel: Name; item: Item }[] }>,
  ];
  members: [
    args: { channel: Name; page?: string },
    ok: Page<{ members: { user: Name; role: Role; muted_until?: Millis }[] }>,
  ];
  "receipts.detail": [
    args: { channel: Name; event: EventId | null; page?: string },
    ok: Page<{ read?: Name[]; delivered?: Name[] }>,
  ];
  reactions: [
    args: { channel: Name; event: EventId; page?: string },
    ok: Page<{ reactions: { emoji: string; user: Name }[] }>,
  ];
  typing: [args: { channel: Name; on?: boolean }, ok: object];
  presence: [args: { watch: Name[] }, ok: { there: Name[] }];
  "channel.create": [
    args: { channel: Name; kind: ChannelKind; settings?: Settings; members?: { user: Name; role?: Role }[]; peer?: Name },
    ok: { state: ChannelState },
  ];
  "channel.update": [args: { channel: Name; settings: Settings }, ok: { state?: ChannelState }];
  "channel.join": [args: { channel: Name }, ok: { state?: ChannelState }];
  "channel.leave": [args: { channel: Name }, ok: { state?: ChannelState }];
  "channel.invite": [args: { channel: Name; user: Name; role?: Role }, ok: object];
  "channel.add": [args: { channel: Name; user: Name; role?: Role }, ok: object];
  "channel.remove": [args: { channel: Name; user: Name }, ok: object];
  "channel.moderate": [
    args: { channel: Name; user: Name; mute_until?: Millis; ban_until?: Millis; role?: Role },
    ok: object,
  ];
  "call.invite": [args: { channel: Name; call: Name; users?: Name[]; media?: string }, ok: { call: CallFrame }];
  "call.accept": InCall;
  "call.decline": InCall;
  "call.cancel": InCall;
  "call.end": InCall;
}

export type CommandName = keyof Commands;
export type Args<C extends CommandName> = Commands[C][0];
export type Ok<C extends CommandName> = Commands[C][1];
/** The commands that a device numbers. */
export type SendCommand = "send" | "edit" | "delete" | "react";

/** Everything that comes unasked. */
export interface Pushes {
  events: { channel: Name; cursor: Cursor; items: Item[] };
  touch: { channel: Name; unread: number; mentions: number };
  receipts: { channel: Name; marks?: Mark[]; counts?: Counts[] };
  typing: { channel: Name; users: Name[]; more?: number };
  presence: { changes: { user: Name; there: boolean }[] };
  told: { channel: Name; from?: From; name: string; body?: Body };
  channel: { channel: Name; state: ChannelState };
  call: CallFrame;
  reset: { channel: Name; why: "epoch" | "retention" | "too_far" | "slow" | (string & {}); cursor: Cursor };
  removed: { channel: Name; id?: EventId };
  goaway: { why?: string; retry_after?: number };
}

/** How many have read a message. */
export interface Counts {
  event: EventId;
  read: number;
  delivered: number;
  names?: Name[];
  approx?: boolean;
}

export type PushName = keyof Pushes;
export type Push = { [P in PushName]: { push: P; data: Pushes[P] } }[PushName];

export type ErrorCode =
  | "no_channel" | "exists" | "not_member" | "forbidden" | "muted" | "banned" | "slow_mode" | "too_large" | "malformed"
  | "no_target" | "csn_gap" | "csn_conflict" | "csn_stale" | "beyond_head" | "busy" | "removed" | "bad_cursor" | "too_many"
  | "rate" | "unknown" | "unauthorized" | "expired" | "unimplemented";

export interface ErrorFrame {
  code: ErrorCode | (string & {});
  reason?: string;
  final: boolean;
  /** Milliseconds; only with `final: false`. */
  retry_after?: number;
  last?: number;
  id?: EventId;
}

/** The version of the format that this speaks. */
export const VERSION = 1;
/** Items of `seen` and `after` that the server takes. */
export const MOST_SEEN = 8;
/** People that may be watched. */
export const MOST_WATCHED = 100;
