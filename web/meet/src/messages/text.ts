import type { Item } from "stoa-messaging";
import { shownName } from "./session";

/** The text of a body: by convention its `text`; a body that is a string is its own. */
export function textOf(body: unknown): string {
  if (typeof body === "string") return body;
  const text = typeof body === "object" && body !== null ? (body as { text?: unknown }).text : undefined;
  return typeof text === "string" ? text : "";
}

/** What happened, in words, where an item is no message; `undefined`: nothing that is shown. */
export function wordsFor(item: Item): string | undefined {
  const who = item.user ? shownName(item.user) : "Somebody";
  switch (item.kind) {
    case "created": return "The conversation began";
    case "updated": return "The settings changed";
    case "member": return `${who} ${CHANGES[item.change ?? ""] ?? "changed"}`;
    case "call": return callWords(item);
    case "hole": return "Some messages are missing; they may still come";
    case "folded": return item.folded?.kind === "members" ? `${item.folded.members} members now` : undefined;
    default: return undefined;
  }
}

const CHANGES: Record<string, string> = {
  joined: "joined", left: "left", invited: "was invited", removed: "was removed", role: "has another role", muted: "was muted", banned: "was banned",
};

function callWords({ stage, talked, from }: Item): string | undefined {
  if (stage === "invited") return `${from ? shownName(from.user) : "Somebody"} called`;
  if (stage !== "ended") return undefined;
  return talked ? `Call ended after ${duration(talked)}` : "Call ended";
}

/** "45 s", "3 min", "1 h 20 min". */
export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "Ann is typing", "Ann, Bob and 3 others are typing". */
export function typingWords({ users, more }: { users: readonly string[]; more: number }): string {
  const names = users.map(shownName);
  if (names.length === 0) return "";
  const list = more > 0 ? `${names.join(", ")} and ${more} ${more === 1 ? "other" : "others"}` : names.join(" and ");
  return `${list} ${names.length + more > 1 ? "are" : "is"} typing…`;
}
