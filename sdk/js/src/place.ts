import type { EventId, Position } from "./protocol.js";

/** An event's id, taken apart. */
export interface Place {
  region: string;
  epoch: number;
  n: number;
}

const ID = /^([^.]{1,128})\.(\d{1,16})\.(\d{1,16})$/;

/** `undefined`: it is no id. */
export function parseId(id: unknown): Place | undefined {
  const parts = typeof id === "string" ? ID.exec(id) : null;
  if (!parts) return undefined;
  return { region: parts[1]!, epoch: Number(parts[2]), n: Number(parts[3]) };
}

/** Where an event is displayed: by clock, region, epoch, number. */
export interface Key extends Place {
  t: string;
}

export function compareKeys(a: Key, b: Key): number {
  return compare(a.t, b.t) || compare(a.region, b.region) || comparePlaces(a, b);
}

/** Of one region's log. */
export function comparePlaces(a: Place, b: Place): number {
  return a.epoch - b.epoch || a.n - b.n;
}

function compare(a: string, b: string): number {
  // By code unit, as the server's bytes: regions are ASCII.
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Does the mark cover the event? */
export function covers(mark: Position | undefined, place: Place): boolean {
  const reached = parseId(mark?.[place.region]);
  return reached !== undefined && comparePlaces(reached, place) >= 0;
}

/** Marks never go back: the higher of both, by region. */
export function higher(a: Position | undefined, b: Position | undefined): Position {
  const joined: Record<string, EventId> = { ...a };
  for (const [region, id] of Object.entries(b ?? {})) {
    const [old, other] = [parseId(joined[region]), parseId(id)];
    if (other && (!old || comparePlaces(old, other) < 0)) joined[region] = id;
  }
  return joined;
}

/** Milliseconds since 1970 of a clock of 16 hexadecimal digits. */
export function timeOf(t: string): number {
  return Number.parseInt(t.slice(0, 12), 16) || 0;
}
