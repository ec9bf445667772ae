// How a person appears when there is no picture of them.

/** One or two letters for a round badge: "Ada Lovelace" gives "AL". */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => Array.from(word ?? "")[0]?.toLocaleUpperCase() ?? "").join("") || "?";
}

/** A hue in degrees that stays with a person: the same identity has the same colour on every screen. */
export function hueOf(identity: string): number {
  let hash = 2166136261;
  for (const unit of identity) hash = Math.imul(hash ^ (unit.codePointAt(0) ?? 0), 16777619);
  return (hash >>> 0) % 360;
}
