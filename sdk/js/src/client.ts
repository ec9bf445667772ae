import { Calls } from "./calls.js";
import { Channel, type SavedChannel } from "./channel.js";
import { codecOf, type Encoding } from "./codec.js";
import { Connection, type ConnectionState, type Problem } from "./connection.js";
import { Device } from "./device.js";
import { Emitter } from "./emitter.js";
import { type EndReason, MessagingError } from "./errors.js";
import type { ChannelHost } from "./host.js";
import { Marks } from "./marks.js";
import { type Platform, systemPlatform } from "./platform.js";
import { Presence } from "./presence.js";
import type {
  Args, ChannelKind, ChannelState, CommandName, Cursor, From, Limits, Name, Ok, Push, Pushes, Resume, Role, Settings, Welcome,
} from "./protocol.js";
import { Requests } from "./requests.js";
import { memoryStorage, type Storage } from "./storage.js";

/** Bytes of cursors that `connect` carries; what is beyond is subscribed one by one. */
const RESUMED = 32 * 1024;
/** Cursors move with every message: they are saved so much later. Milliseconds. */
const SAVING = 1_000;

export interface ClientOptions {
  /** `wss://chat.example.org`, with or without a path; `https://` will do. */
  url: string;
  /** A token, or how to get one: asked before every connection. */
  token: string | (() => string | Promise<string>);
  /** `json` by default. */
  encoding?: Encoding;
  /** What is to outlive this object: `webStorage(sessionStorage)` in a page. Nothing, by default. */
  storage?: Storage;
  /** Whether others hear that a message has arrived here; true by default. */
  receipts?: boolean;
  /** The constructor of WebSockets, where there is no global one: that of the package `ws`. */
  webSocket?: unknown;
  /** For tests. */
  platform?: Platform;
}

export interface ClientEvents {
  /** The connection's state. */
  state: ConnectionState;
  /** It is over for good. */
  end: { reason: EndReason; detail: string };
  /** A push about a channel, opened or not, after it was applied. */
  push: Push;
  /** Connected, again or for the first time. */
  welcome: Welcome;
  /** Something went wrong and is dealt with; for logs. */
  problem: Problem;
}

export interface NewChannel {
  kind?: ChannelKind;
  settings?: Settings;
  members?: { user: Name; role?: Role }[];
  peer?: Name;
}

/** One device of one person. */
export class Client extends Emitter<ClientEvents> {
  readonly calls: Calls;
  readonly presence: Presence;
  /** Who the token says we are; "" before the first connection. */
  user = "";
  readonly #channels = new Map<Name, Channel>();
  readonly #connection: Connection;
  readonly #requests: Requests;
  readonly #device: Device;
  readonly #host: ChannelHost;
  readonly #storage: Storage;
  readonly #platform: Platform;
  /** Channels whose streams moved, the last last. */
  readonly #moved = new Set<Name>();
  readonly #unsaved = new Set<Name>();
  readonly #stored = new Map<Name, SavedChannel>();
  #saving = false;
  #unwake: (() => void) | undefined;
  #ended: EndReason | undefined;

  /** Connects, after it has read the storage. */
  static async start(options: ClientOptions): Promise<Client> {
    const client = new Client(options);
    await client.#load();
    client.#unwake = client.#platform.onWake?.(() => client.wake());
    client.#connection.start();
    return client;
  }

  private constructor(private readonly options: ClientOptions) {
    super();
    this.#platform = options.platform ?? systemPlatform(options.webSocket);
    this.#storage = options.storage ?? memoryStorage();
    this.#device = new Device(this.#platform, (key, value) => this.#write(key, value));
    this.#connection = new Connection(addressOf(options.url), codecOf(options.encoding ?? "json"), this.#platform, this.#connectionHost());
    this.#requests = new Requests(this.#platform, this.#connection);
    const issue = this.#connection.issue.bind(this.#connection);
    const marks = new Marks(this.#platform, { issue, marked: (channel, ok) => this.#channels.get(channel)?.marked(ok) });
    this.presence = new Presence(this.#platform, issue);
    this.calls = new Calls({ request: (command, args) => this.request(command, args), own: () => this.own, id: () => this.#platform.id() });
    this.#host = this.#channelHost(marks);
  }

  /** This device, and whose it is. */
  get own(): From {
    return { user: this.user, device: this.#device.id };
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  /** Why it ended; `undefined`: it has not. */
  get ended(): EndReason | undefined {
    return this.#ended;
  }

  get limits(): Limits {
    return this.#connection.limits;
  }

  /** The server's clock, in milliseconds since 1970. */
  get time(): number {
    return this.#platform.now() + this.#connection.ahead;
  }

  /** Waits for a connection; fails when there will be none. */
  async ready(): Promise<void> {
    if (this.state === "connected") return;
    if (this.#ended) throw new MessagingError("closed", this.#ended);
    await new Promise<void>((resolve, reject) => {
      const offs = [
        this.on("welcome", () => settle(resolve)),
        this.on("end", ({ reason, detail }) => settle(() => reject(new MessagingError("closed", detail || reason)))),
      ];
      const settle = (how: () => void) => {
        for (const off of offs) off();
        how();
      };
    });
  }

  /** A channel by its id: the same object each time. It is not subscribed before `open`. */
  channel(id: Name): Channel {
    let channel = this.#channels.get(id);
    if (!channel) {
      channel = new Channel(id, this.#host);
      this.#channels.set(id, channel);
      const stored = this.#stored.get(id);
      if (stored) channel.restore(stored);
    }
    return channel;
  }

  /** The channel of two people, which is made when there is none. */
  async direct(peer: Name): Promise<Channel> {
    await this.ready();
    const id = directId(this.user, peer);
    await this.create(id, { kind: "direct", peer }).catch((error: unknown) => {
      if (!(error instanceof MessagingError) || error.code !== "exists") throw error;
    });
    return this.channel(id);
  }

  /** Makes a channel; its id may be any that nobody has. */
  async create(id: Name, { kind = "group", settings, members, peer }: NewChannel = {}): Promise<ChannelState> {
    return (await this.request("channel.create", { channel: id, kind, settings, members, peer })).state;
  }

  /** An id that nobody else makes. */
  newId(): Name {
    return this.#platform.id();
  }

  /** The channels of which one is a member, those that changed last first. */
  list(page?: string): Promise<Ok<"channels">> {
    return this.request("channels", { page });
  }

  /** Any command: asked over reconnections until it is answered, at most for a minute. */
  request<C extends CommandName>(command: C, args: Args<C>): Promise<Ok<C>> {
    return this.#requests.ask(command, args);
  }

  /** The network or the page came back: asks for a sign of life, or connects at once. */
  wake(): void {
    this.#connection.probe();
  }

  /** Ends it. Sends without an answer stay in the storage. */
  close(): void {
    this.#connection.end("closed");
  }

  async #load(): Promise<void> {
    const all = await Promise.resolve(this.#storage.load()).catch((error: unknown) => {
      this.emit("problem", { what: "storage", reason: String(error) });
      return {} as Record<string, string>;
    });
    const isNew = this.#device.load(all.device);
    this.user = this.#device.user;
    for (const [key, text] of Object.entries(all)) {
      if (!key.startsWith("channel/")) continue;
      const saved = isNew ? undefined : savedChannel(text);
      if (!saved) this.#write(key, undefined);
      else this.#stored.set(key.slice("channel/".length), saved);
    }
    for (const [id, saved] of this.#stored) if (saved.outbox.entries.length > 0) this.channel(id);
  }

  #connectionHost(): ConstructorParameters<typeof Connection>[3] {
    const { token } = this.options;
    return {
      renews: typeof token === "function",
      token: async () => (typeof token === "function" ? token() : token),
      hello: () => this.#hello(),
      welcome: (welcome) => this.#welcome(welcome),
      push: (push) => this.#push(push),
      lost: () => this.#all((channel) => channel.disconnected()),
      changed: (state) => this.emit("state", state),
      ended: (reason, detail) => this.#end(reason, detail),
      problem: (problem) => this.emit("problem", problem),
      sign: (done) => this.presence.tell(done),
    };
  }

  #channelHost(marks: Marks): ChannelHost {
    const client = this;
    return {
      platform: this.#platform,
      marks,
      receipts: this.options.receipts !== false,
      get connected() { return client.state === "connected"; },
      own: () => this.own,
      issue: (command, args, done) => this.#connection.issue(command, args, done),
      request: (command, args) => this.request(command, args),
      save: (channel, now) => this.#save(channel, now),
      problem: (problem) => this.emit("problem", problem),
      cursors: (but) => this.#cursors(but),
    };
  }

  #hello(): { device: Name; resume: Resume[] } {
    if (this.#device.renew()) this.#all((channel) => channel.abandon("the device was not used for three weeks"));
    let bytes = 0;
    const resume = [...this.#channels.values()].flatMap((channel) => channel.resume() ?? []);
    return { device: this.#device.id, resume: resume.filter((each) => (bytes += JSON.stringify(each).length) <= RESUMED) };
  }

  #welcome(welcome: Welcome): void {
    if (this.#device.belongsTo(welcome.user) === false) return this.#becomeAnother(welcome.user);
    this.user = welcome.user;
    const resumed = new Map(welcome.channels.map((each) => [each.channel, each]));
    this.#all((channel) => channel.connected(resumed.get(channel.id)));
    this.presence.resume();
    this.calls.welcome(welcome.calls);
    this.#requests.resume();
    this.#host.marks.resume();
    this.emit("welcome", welcome);
  }

  /** The storage is of somebody else who used this browser: nothing of theirs is sent in another name. */
  #becomeAnother(user: Name): void {
    this.#device.mint(user);
    for (const id of this.#stored.keys()) this.#write(`channel/${id}`, undefined);
    this.#stored.clear();
    this.#all((channel) => channel.abandon("somebody else signed in"));
    this.#connection.restart();
  }

  #push(push: Push): void {
    if (push.push === "presence") this.presence.push(push.data);
    else if (push.push === "call") this.calls.push(push.data);
    else {
      const { channel } = push.data as Pushes["touch"];
      if (push.push === "events") this.#moves(channel);
      this.#channels.get(channel)?.push(push);
    }
    this.emit("push", push);
  }

  #moves(channel: Name): void {
    this.#moved.delete(channel);
    this.#moved.add(channel);
  }

  #cursors(but: Name): [Name, Cursor][] {
    const latest = [...this.#moved].reverse().filter((id) => id !== but);
    return latest.flatMap((id): [Name, Cursor][] => {
      const cursor = this.#channels.get(id)?.cursor;
      return cursor ? [[id, cursor]] : [];
    });
  }

  #end(reason: EndReason, detail: string): void {
    this.#ended = reason;
    this.#unwake?.();
    this.#flush();
    this.#requests.end(reason);
    this.emit("end", { reason, detail });
  }

  #all(call: (channel: Channel) => void): void {
    for (const channel of [...this.#channels.values()]) call(channel);
  }

  #save(channel: Name, now: boolean): void {
    this.#unsaved.add(channel);
    if (now) return this.#flush();
    if (this.#saving) return;
    this.#saving = true;
    this.#platform.after(SAVING, () => {
      this.#saving = false;
      this.#flush();
    });
  }

  #flush(): void {
    for (const id of this.#unsaved) {
      const channel = this.#channels.get(id);
      if (channel) this.#write(`channel/${id}`, JSON.stringify(channel.saved()));
    }
    this.#unsaved.clear();
  }

  #write(key: string, value: string | undefined): void {
    try {
      this.#storage.save(key, value);
    } catch (error) {
      this.emit("problem", { what: "storage", reason: String(error) });
    }
  }
}

/** The id of the channel of two people: both find the same. */
export function directId(one: Name, other: Name): Name {
  const [first, second] = [one, other].sort((a, b) => compareBytes(a, b)).map(escaped);
  return `direct:${first}:${second}`;
}

function escaped(name: Name): string {
  // oxlint-disable-next-line no-control-regex
  return name.replace(/[%:\u0000-\u001f]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);
}

/** As UTF-8, which is the order of code points and not that of UTF-16. */
function compareBytes(a: string, b: string): number {
  const [left, right] = [Array.from(a), Array.from(b)];
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    const difference = left[at]!.codePointAt(0)! - right[at]!.codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

function addressOf(url: string): string {
  const address = url.replace(/^http/, "ws").replace(/\/+$/, "");
  if (!/^wss?:\/\/./.test(address)) throw new Error(`\`${url}\` is no address: it begins with wss:// or ws://`);
  return address.endsWith("/m/v1") ? address : `${address}/m/v1`;
}

/** What was stored may be of another version of this program, or anybody's. */
function savedChannel(text: string): SavedChannel | undefined {
  try {
    const saved = JSON.parse(text) as SavedChannel;
    const { last, next, entries } = saved.outbox;
    const whole = Array.isArray(entries) && entries.every(({ csn, args, refs, lost }) => csn > 0 && args && refs && Array.isArray(lost));
    return whole && Number.isSafeInteger(last) && Number.isSafeInteger(next) ? saved : undefined;
  } catch {
    return undefined;
  }
}
