// What is displayed of a channel: items in one order, edits, deletes and totals applied, whichever came first. The order in which they
// are applied does not matter: who has the same items shows the same.

import { compareKeys, comparePlaces, type Key, parseId, type Place, timeOf } from "./place.js";
import type { Body, ErrorFrame, EventId, From, Item, Name, Total } from "./protocol.js";
import type { Entry } from "./outbox.js";

/** Items that are held; the oldest make room, and are paged again. */
export const MOST_HELD = 5_000;
/** Messages that are not held of which an edit, a delete or a total is remembered. */
const MOST_FOREIGN = 1_000;

export type Status =
  /** On its way. */
  | "sending"
  | "sent"
  /** It was not stored; `error` says why. */
  | "refused"
  /** It may have been stored. */
  | "unknown";

/** What is shown of an item, or of an own message that is on its way. It is replaced, never changed: two that are the same object look the same. */
export interface Message {
  /** The same from the local echo on. */
  readonly key: string;
  /** Absent while it is on its way. */
  readonly id?: EventId;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly kind: Item["kind"];
  readonly from?: From;
  readonly csn?: number;
  readonly body?: Body;
  readonly replyTo?: EventId;
  readonly thread?: EventId;
  readonly mentions: readonly Name[];
  readonly edited: boolean;
  readonly deleted: boolean;
  readonly totals: readonly Total[];
  /** It fills a hole that was shown. */
  readonly late: boolean;
  /** What it names in other channels has not come. */
  readonly unmet: boolean;
  readonly status: Status;
  readonly error?: ErrorFrame;
  /** As it came; for the kinds that have more than a body. */
  readonly item?: Item;
}

/** An own send that is shown before the stream brings it. */
export interface Echo {
  readonly entry: Entry;
  /** It was accepted as this. */
  readonly event?: EventId;
  readonly failed?: { status: "refused" | "unknown"; error: ErrorFrame };
}

/** What an item was to the list. */
export type Applied = "new" | "known" | "bad";

interface Node {
  readonly key: Key;
  item: Item;
}

interface Overlay {
  edit?: { key: Key; body: Body };
  deleted: boolean;
  totals: Map<string, { t: string; total: Total }>;
}

export class Timeline {
  /** In the displayed order. */
  #nodes: Node[] = [];
  readonly #byId = new Map<EventId, Node>();
  /** What was done to a message, by the id that was named. */
  readonly #overlays = new Map<EventId, Overlay>();
  /** The ids of a device's number: more than one when two regions accepted it. */
  readonly #numbered = new Map<string, Node[]>();
  /** By region, how far the stream has come. */
  readonly #reached = new Map<string, Place>();
  readonly #shown = new Map<EventId, Message>();

  get size(): number {
    return this.#nodes.length;
  }

  /** The first that is displayed. */
  get oldest(): EventId | undefined {
    return this.#nodes[0]?.item.id;
  }

  has(id: EventId): boolean {
    return this.#byId.has(id);
  }

  /** How far the stream has come in a region. */
  reached(region: string): Place | undefined {
    return this.#reached.get(region);
  }

  clear(): void {
    this.#nodes = [];
    for (const map of [this.#byId, this.#overlays, this.#numbered, this.#reached, this.#shown]) map.clear();
  }

  /** A stream begins: what is before it is not known. */
  begin(): void {
    this.#reached.clear();
  }

  /** The stream's next item. */
  apply(item: Item): Applied {
    const key = keyOf(item);
    if (!key) return "bad";
    const before = this.#reached.get(key.region);
    const known = before !== undefined && comparePlaces(before, key) >= 0;
    if (!known) this.#advance(key);
    const inserted = this.#take(item, key);
    return known || !inserted ? "known" : "new";
  }

  /** Items of a page of history: how many were not there. */
  page(items: readonly Item[]): number {
    let fresh = 0;
    for (const item of items) {
      const key = keyOf(item);
      if (key && this.#insert(item, key)) fresh++;
    }
    return fresh;
  }

  /** Does the item follow what the stream brought before it? */
  follows(item: Item): boolean {
    const place = parseId(item.id);
    const before = place && this.#reached.get(place.region);
    if (!place || !before || comparePlaces(before, place) >= 0) return true;
    const prev = parseId(item.prev);
    return prev !== undefined && comparePlaces(prev, before) === 0;
  }

  /** An accepted reaction, until the stream brings its total. */
  reacted(event: EventId, emoji: string, on: boolean): void {
    const message = this.message(event);
    const total = toggled(message?.totals ?? [], emoji, on).find((each) => each.emoji === emoji);
    const t = this.#overlays.get(event)?.totals.get(emoji)?.t ?? "";
    this.#total(event, t, total ?? { emoji, count: 0, mine: false });
  }

  /** Lets the oldest go. True: some were. */
  trim(): boolean {
    const over = this.#nodes.length - MOST_HELD;
    for (const node of this.#nodes.splice(0, Math.max(0, over))) {
      const id = node.item.id;
      for (const map of [this.#byId, this.#overlays, this.#shown]) map.delete(id);
      this.#numbered.delete(numberOf(node.item) ?? "");
    }
    return over > 0;
  }

  /** What is displayed, with own sends that are on their way applied. */
  view(echoes: readonly Echo[], own: From): Message[] {
    const changes = changesOf(echoes);
    const shown = this.#nodes.filter((node) => this.#isShown(node)).map((node) => {
      const message = this.message(node.item.id)!;
      const all = [node.item.id, ...this.#aliases(node)].flatMap((id) => changes.get(id) ?? []);
      return all.reduce(changed, message);
    });
    const local = echoes.filter(({ entry, event }) => entry.command === "send" && !(event && this.has(event)));
    return [...shown, ...local.map((echo) => echoed(echo, own, changes.get(echo.event ?? echo.entry.csn) ?? []))];
  }

  /** A message as it looks without what is on its way. Another id of it will do. */
  message(id: EventId): Message | undefined {
    const node = this.#canonical(id);
    if (!node) return undefined;
    const known = this.#shown.get(node.item.id);
    if (known) return known;
    const message = this.#compose(node);
    this.#shown.set(node.item.id, message);
    return message;
  }

  /** Displayed messages of others that a mark does not cover, by the function that says so. */
  count(unread: (key: Key, item: Item) => boolean): number {
    return this.#nodes.filter((node) => this.#isShown(node) && unread(node.key, node.item)).length;
  }

  #take(item: Item, key: Key): boolean {
    const { kind, target, folded } = item;
    if (kind === "edit" && target) return this.#edit(target, key, item.body);
    if (kind === "delete" && target) return this.#delete(target);
    if (kind === "folded" && folded?.kind === "reactions") {
      for (const { event, ...total } of folded.totals ?? []) this.#total(event, item.t, total);
      return true;
    }
    return this.#insert(item, key);
  }

  #insert(item: Item, key: Key): boolean {
    const known = this.#byId.get(item.id);
    if (known) {
      // A page says what became of it; the stream does not.
      if (item.edited || item.deleted || item.totals) known.item = { ...item, late: known.item.late, prev: known.item.prev };
      this.#shown.delete(this.#canonical(item.id)?.item.id ?? "");
      return false;
    }
    const node: Node = { key, item };
    this.#nodes.splice(this.#placeOf(key), 0, node);
    this.#byId.set(item.id, node);
    const number = numberOf(item);
    if (number) {
      const alike = [...(this.#numbered.get(number) ?? []), node].sort((a, b) => compareKeys(a.key, b.key));
      this.#numbered.set(number, alike);
      for (const each of alike) this.#shown.delete(each.item.id);
    }
    return true;
  }

  /** By halves: where the key belongs; mostly at the end. */
  #placeOf(key: Key): number {
    let [low, high] = [0, this.#nodes.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compareKeys(this.#nodes[middle]!.key, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #advance(place: Place): void {
    this.#reached.set(place.region, { region: place.region, epoch: place.epoch, n: place.n });
  }

  #edit(target: EventId, key: Key, body: Body): boolean {
    const overlay = this.#overlay(target);
    if (overlay.edit && compareKeys(overlay.edit.key, key) >= 0) return false;
    overlay.edit = { key, body };
    return true;
  }

  #delete(target: EventId): boolean {
    const overlay = this.#overlay(target);
    const fresh = !overlay.deleted;
    overlay.deleted = true;
    return fresh;
  }

  #total(event: EventId, t: string, total: Total): void {
    const { totals } = this.#overlay(event);
    const known = totals.get(total.emoji);
    if (!known || known.t <= t) totals.set(total.emoji, { t, total });
  }

  #overlay(target: EventId): Overlay {
    this.#shown.delete(this.#canonical(target)?.item.id ?? "");
    let overlay = this.#overlays.get(target);
    if (!overlay) {
      overlay = { deleted: false, totals: new Map() };
      this.#overlays.set(target, overlay);
      this.#forgetForeign();
    }
    return overlay;
  }

  #forgetForeign(): void {
    if (this.#overlays.size <= MOST_HELD + MOST_FOREIGN) return;
    const foreign = [...this.#overlays.keys()].filter((id) => !this.#byId.has(id));
    for (const id of foreign.slice(0, foreign.length - MOST_FOREIGN / 2)) this.#overlays.delete(id);
  }

  #canonical(id: EventId): Node | undefined {
    const node = this.#byId.get(id);
    return node && (this.#numbered.get(numberOf(node.item) ?? "")?.[0] ?? node);
  }

  #aliases(node: Node): EventId[] {
    const alike = this.#numbered.get(numberOf(node.item) ?? "") ?? [];
    return alike.filter((each) => each !== node).map((each) => each.item.id);
  }

  /** Not the second id of a message, and no hole that is filled. */
  #isShown(node: Node): boolean {
    if (this.#canonical(node.item.id) !== node) return false;
    const { hole } = node.item;
    const reached = hole && this.#reached.get(hole.region);
    return !hole || !reached || comparePlaces(reached, { region: hole.region, epoch: hole.epoch, n: hole.upto }) < 0;
  }

  #compose(node: Node): Message {
    const { item } = node;
    const overlays = [item.id, ...this.#aliases(node)].flatMap((id) => this.#overlays.get(id) ?? []);
    const edits = overlays.flatMap(({ edit }) => edit ?? []).sort((a, b) => compareKeys(a.key, b.key));
    const deleted = item.deleted === true || overlays.some((overlay) => overlay.deleted);
    const edit = edits.at(-1);
    const totals = new Map((item.totals ?? []).map((total) => [total.emoji, total]));
    for (const overlay of overlays) for (const [emoji, { total }] of overlay.totals) totals.set(emoji, total);
    return {
      key: keyFor(item), id: item.id, time: timeOf(item.t), kind: item.kind, from: item.from, csn: item.csn,
      body: deleted ? undefined : edit ? edit.body : item.body,
      replyTo: item.reply_to, thread: item.thread, mentions: item.mentions ?? [],
      edited: item.edited === true || edit !== undefined, deleted,
      totals: deleted ? [] : [...totals.values()].filter((total) => total.count > 0),
      late: item.late === true, unmet: item.unmet === true, status: "sent", item,
    };
  }
}

function keyOf(item: Item): Key | undefined {
  const place = parseId(item.id);
  return place && typeof item.t === "string" ? { ...place, t: item.t } : undefined;
}

function numberOf({ from, csn }: Item): string | undefined {
  return from && csn ? `${csn} ${from.device} ${from.user}` : undefined;
}

function keyFor({ id, from, csn }: Item): string {
  return from && csn ? `${from.device}:${csn}` : id;
}

/** Edits, deletes and reactions that are on their way, by what they change. */
function changesOf(echoes: readonly Echo[]): Map<EventId | number, Entry[]> {
  const changes = new Map<EventId | number, Entry[]>();
  for (const { entry, failed } of echoes) {
    if (entry.command === "send" || failed) continue;
    const target = (entry.args.event as EventId | undefined) ?? entry.refs.event;
    if (target !== undefined) changes.set(target, [...(changes.get(target) ?? []), entry]);
  }
  return changes;
}

function changed(message: Message, { command, args }: Entry): Message {
  if (command === "delete") return { ...message, body: undefined, totals: [], deleted: true };
  if (command === "edit") return message.deleted ? message : { ...message, body: args.body, edited: true };
  return { ...message, totals: toggled(message.totals, String(args.emoji), args.on === true) };
}

function toggled(totals: readonly Total[], emoji: string, on: boolean): Total[] {
  const old = totals.find((total) => total.emoji === emoji) ?? { emoji, count: 0, mine: false };
  const count = old.mine === on ? old.count : old.count + (on ? 1 : -1);
  const others = totals.filter((total) => total.emoji !== emoji);
  return count > 0 ? [...others, { emoji, count, mine: on }] : others;
}

function echoed({ entry, event, failed }: Echo, own: From, changes: Entry[]): Message {
  const { args, csn, at } = entry;
  const message: Message = {
    key: `${own.device}:${csn}`, id: event, time: at, kind: (args.kind as string | undefined) ?? "message", from: own, csn,
    body: args.body, replyTo: args.reply_to as EventId | undefined, thread: args.thread as EventId | undefined,
    mentions: (args.mentions as Name[] | undefined) ?? [],
    edited: false, deleted: false, totals: [], late: false, unmet: false,
    status: failed?.status ?? (event ? "sent" : "sending"), error: failed?.error,
  };
  return changes.reduce(changed, message);
}
