// Names of rooms, and the links that stand for them.

/** Longest room name that the page makes or accepts, in characters. */
export const MAX_ROOM_NAME = 64;

/** What a person typed, as a name that is easy to say and survives in a link: "Team  Sync!" becomes "team-sync". */
export function roomNameFrom(typed: string): string {
  return typed
    .normalize("NFKC")
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_]+/gu, "-")
    .slice(0, MAX_ROOM_NAME)
    .replace(/^-+|-+$/g, "");
}

/**
 * The room name in the path of a link, or `undefined` when the path is no room link.
 * The name is taken as it is written: rooms made by other programs may have capitals or spaces in their names.
 */
export function roomInPath(path: string): string | undefined {
  const encoded = /^\/r\/([^/]+)\/?$/.exec(path)?.[1];
  if (encoded === undefined) return undefined;
  const name = decoded(encoded)?.trim();
  return name && name.length <= MAX_ROOM_NAME && !/\p{Cc}/u.test(name) ? name : undefined;
}

function decoded(component: string): string | undefined {
  try {
    return decodeURIComponent(component);
  } catch {
    return undefined;
  }
}

/** The path of a room's link. */
export function roomPath(room: string): string {
  return `/r/${encodeURIComponent(room)}`;
}

/** The room that a person means who pasted a whole invite link, or typed a name. Empty when there is nothing to go by. */
export function roomFromInput(input: string): string {
  const text = input.trim();
  if (URL.canParse(text)) {
    const linked = roomInPath(new URL(text).pathname);
    if (linked !== undefined) return linked;
  }
  return roomInPath(text) ?? roomNameFrom(text);
}

const FIRST = ["amber", "brisk", "calm", "clear", "coral", "crisp", "early", "gentle", "golden", "ivory", "lively", "lunar", "mellow", "olive", "quiet", "rapid", "sunny", "swift", "velvet", "violet"];
const SECOND = ["arch", "bay", "brook", "cedar", "cliff", "delta", "falcon", "field", "garden", "harbor", "heron", "island", "meadow", "otter", "pine", "portico", "river", "summit", "terrace", "willow"];
// No letters or digits that look or sound alike.
const TAIL = "bcdfghjkmnpqrstvwxz23456789";

/** A new name that nobody guesses by accident; `random` yields numbers below the bound that it is given. */
export function freshRoomName(random: (below: number) => number = cryptoRandom): string {
  const tail = Array.from({ length: 5 }, () => TAIL[random(TAIL.length)]).join("");
  return `${FIRST[random(FIRST.length)]}-${SECOND[random(SECOND.length)]}-${tail}`;
}

function cryptoRandom(below: number): number {
  const [value = 0] = crypto.getRandomValues(new Uint32Array(1));
  return value % below;
}
