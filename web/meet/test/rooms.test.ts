import { describe, expect, test } from "vitest";
import { freshRoomName, MAX_ROOM_NAME, roomFromInput, roomInPath, roomNameFrom, roomPath } from "../src/lib/rooms";

describe("a typed room name", () => {
  test("becomes lower case with single hyphens", () => expect(roomNameFrom("  Team  Sync! ")).toBe("team-sync"));
  test("keeps letters of every alphabet", () => expect(roomNameFrom("Réunion Ötzi 会議")).toBe("réunion-ötzi-会議"));
  test("is empty when nothing usable was typed", () => expect(roomNameFrom(" -- / ? ")).toBe(""));
  test("is cut at the limit and does not end in a hyphen", () => {
    const name = roomNameFrom(`${"a".repeat(MAX_ROOM_NAME - 1)} b`);
    expect(name).toBe("a".repeat(MAX_ROOM_NAME - 1));
  });
});

describe("a room link", () => {
  test("gives back the name it was made from", () => {
    for (const name of ["daily", "Team Sync", "50% off", "a/b", "会議"]) expect(roomInPath(roomPath(name))).toBe(name);
  });
  test("may end in a slash", () => expect(roomInPath("/r/daily/")).toBe("daily"));
  test("is nothing else", () => {
    for (const path of ["/", "/r", "/r/", "/r/a/b", "/room/a", "/r/%", "/r/%00", "/r/%20", `/r/${"x".repeat(65)}`]) {
      expect(roomInPath(path), path).toBeUndefined();
    }
  });
});

describe("the entry field", () => {
  test("takes a pasted invite link", () => expect(roomFromInput(" https://meet.example/r/Team%20Sync?x=1 ")).toBe("Team Sync"));
  test("takes a path", () => expect(roomFromInput("/r/daily")).toBe("daily"));
  test("takes a name with a colon for a name, not for an address", () => expect(roomFromInput("standup: monday")).toBe("standup-monday"));
});

test("a fresh name is a usable room name", () => {
  const name = freshRoomName();
  expect(roomNameFrom(name)).toBe(name);
  expect(freshRoomName((below) => below - 1)).toBe("violet-willow-99999");
});
