import type { Channel, ChannelKind, Client, Item, Listed, Push } from "stoa-messaging";

/** How often the list is asked for while the page is shown: new channels of others' making are in it. Milliseconds. */
const REFRESH = 20_000;

/** A conversation as the list shows it. */
export interface Entry {
  channel: Channel;
  kind: ChannelKind;
  peer: string | undefined;
  name: string | undefined;
  last: Item | undefined;
}

interface Kept {
  id: string;
  kind: ChannelKind;
  peer?: string;
  name?: string;
}

/** One's conversations, those that changed last first: what the server lists, and those begun here. */
export class Roster {
  version = 0;
  readonly #entries = new Map<string, Entry>();
  readonly #listeners = new Set<() => void>();
  #refreshing = false;

  constructor(
    private readonly client: Client,
    private readonly user: string,
  ) {
    for (const { id, kind, peer, name } of this.#kept()) this.add(id, kind, peer, name);
    client.on("welcome", () => void this.refresh());
    client.on("push", (push) => this.#push(push));
    setInterval(() => document.visibilityState === "visible" && void this.refresh(), REFRESH);
    void this.refresh();
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  get entries(): Entry[] {
    const time = ({ channel, last }: Entry) => channel.messages.at(-1)?.time ?? (last ? Number.parseInt(last.t.slice(0, 12), 16) : 0);
    return [...this.#entries.values()].sort((a, b) => time(b) - time(a));
  }

  get(id: string): Entry | undefined {
    return this.#entries.get(id);
  }

  /** A conversation that is shown from now on. */
  add(id: string, kind: ChannelKind, peer?: string, name?: string, last?: Item): Entry {
    const known = this.#entries.get(id);
    const channel = known?.channel ?? this.client.channel(id);
    const entry: Entry = { channel, kind, peer: peer ?? known?.peer ?? peerOf(id, this.user), name: name ?? known?.name, last: last ?? known?.last };
    this.#entries.set(id, entry);
    if (!known) {
      if (channel.status === "closed") channel.open({ events: false });
      channel.on("change", () => this.#changed());
      this.#keep();
    }
    this.#changed();
    return entry;
  }

  async refresh(): Promise<void> {
    if (this.#refreshing || this.client.state !== "connected") return;
    this.#refreshing = true;
    try {
      let page: string | undefined;
      // Twenty pages are a thousand conversations: enough to look through.
      for (let pages = 0; pages < 20; pages++) {
        const list = await this.client.list(page);
        for (const listed of list.channels) this.#listed(listed);
        page = list.page;
        if (!page) break;
      }
    } catch {
      // Asked again soon; what was begun here is shown meanwhile.
    } finally {
      this.#refreshing = false;
    }
  }

  #listed({ channel, kind, name, peer, last, state }: Listed): void {
    if (kind === "inbox") return;
    this.add(channel, kind, peer, name ?? state?.settings?.name, last);
  }

  /** Something of a conversation that is not in the list: somebody began one. */
  #push(push: Push): void {
    if (!("channel" in push.data) || this.#entries.has(push.data.channel)) return;
    const id = push.data.channel;
    if (push.push === "channel") this.add(id, push.data.state.kind, undefined, push.data.state.settings?.name);
    else if (push.push === "call" || push.push === "touch") this.add(id, id.startsWith("direct:") ? "direct" : "group");
    else if (push.push === "events") void this.refresh();
  }

  #kept(): Kept[] {
    try {
      const kept = JSON.parse(localStorage.getItem(`stoa.contacts.${this.user}`) ?? "[]") as Kept[];
      return Array.isArray(kept) ? kept.filter(({ id, kind }) => typeof id === "string" && typeof kind === "string") : [];
    } catch {
      return [];
    }
  }

  #keep(): void {
    const kept: Kept[] = [...this.#entries].slice(-200).map(([id, { kind, peer, name }]) => ({ id, kind, peer, name }));
    try {
      localStorage.setItem(`stoa.contacts.${this.user}`, JSON.stringify(kept));
    } catch {
      // Without storage the server's list is what there is.
    }
  }

  #changed(): void {
    this.version++;
    for (const listener of this.#listeners) listener();
  }
}

/** The other person in the id of a direct channel. */
export function peerOf(id: string, user: string): string | undefined {
  const parts = id.split(":");
  if (parts[0] !== "direct" || parts.length !== 3) return undefined;
  return parts.slice(1).map(unescaped).find((name) => name !== user);
}

function unescaped(name: string): string {
  return name.replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
