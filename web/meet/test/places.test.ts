import { expect, test } from "vitest";
import { pathOf, placeIn, type Place } from "../src/lib/places";
import { duration, textOf, typingWords, wordsFor } from "../src/messages/text";
import { shownName, userFrom } from "../src/messages/session";
import { peerOf } from "../src/messages/roster";

test("every page has an address that leads back to it", () => {
  const places: Place[] = [
    { page: "home" },
    { page: "messages", channel: undefined },
    { page: "messages", channel: "direct:ann:a%3Ab/c" },
    { page: "room", room: "café x", channel: undefined },
    { page: "room", room: "call", channel: "direct:ann:bob" },
  ];
  for (const place of places) {
    const url = new URL(pathOf(place), "http://host");
    expect(placeIn(url)).toEqual(place);
  }
  expect(placeIn({ pathname: "/chat/%", search: "" })).toEqual({ page: "messages" });
  expect(placeIn({ pathname: "/chat/a/b", search: "" })).toEqual({ page: "home" });
});

test("whoever types the same name is the same person", () => {
  expect(userFrom("  Ada   LOVELACE ")).toBe("ada lovelace");
  expect(shownName("ada lovelace")).toBe("Ada Lovelace");
  expect(shownName("émile-zoë")).toBe("Émile-Zoë");
});

test("the other person of a direct channel is read out of its id", () => {
  expect(peerOf("direct:ann:bob", "bob")).toBe("ann");
  expect(peerOf("direct:a%3Ab:bob", "bob")).toBe("a:b");
  expect(peerOf("group-1", "bob")).toBeUndefined();
});

test("items that are no messages are said in words", () => {
  const item = { id: "eu.1.1", t: "0", kind: "member", user: "ann", change: "joined" } as const;
  expect(wordsFor(item)).toBe("Ann joined");
  expect(wordsFor({ ...item, kind: "call", stage: "ended", talked: 80_000 })).toBe("Call ended after 1 min");
  expect(wordsFor({ ...item, kind: "something new" })).toBeUndefined();
  expect(duration(4_900_000)).toBe("1 h 22 min");
  expect(typingWords({ users: ["ann", "bob"], more: 3 })).toBe("Ann, Bob and 3 others are typing…");
  expect(typingWords({ users: ["ann"], more: 0 })).toBe("Ann is typing…");
  expect([textOf("a"), textOf({ text: "b" }), textOf({ text: 7 }), textOf(null)]).toEqual(["a", "b", "", ""]);
});
