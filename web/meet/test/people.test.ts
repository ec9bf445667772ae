import { Track } from "livekit-client";
import { describe, expect, test } from "vitest";
import { DEFAULT_CHOICES, parseChoices } from "../src/lib/choices";
import { bestGrid, onStage, tileKey } from "../src/lib/layout";
import { hueOf, initials } from "../src/lib/people";

describe("initials", () => {
  test.each([
    ["Ada", "A"],
    ["Ada Lovelace", "AL"],
    ["ada king lovelace", "AL"],
    ["  ", "?"],
    ["😀 Smile", "😀S"],
  ])("of %j are %j", (name, letters) => expect(initials(name)).toBe(letters));
});

test("a person keeps their colour", () => {
  expect(hueOf("ada")).toBe(hueOf("ada"));
  expect(hueOf("ada")).not.toBe(hueOf("bob"));
  expect(hueOf("")).toBeLessThan(360);
});

describe("remembered choices", () => {
  test("survive a round trip", () => {
    const chosen = { ...DEFAULT_CHOICES, name: "Ada", camera: false, microphoneId: "m1" };
    expect(parseChoices(JSON.stringify(chosen))).toEqual(chosen);
  });
  test.each([null, "", "nonsense", "null", "[]", '{"name":7,"camera":"yes","other":1}'])("%j is forgotten", (stored) =>
    expect(parseChoices(stored)).toEqual(DEFAULT_CHOICES),
  );
});

describe("the stage", () => {
  const tile = (identity: string, source = Track.Source.Camera, isLocal = false) => ({ participant: { identity, isLocal }, source });
  const me = tile("me", Track.Source.Camera, true);
  const [ada, bob, screen] = [tile("ada"), tile("bob"), tile("bob", Track.Source.ScreenShare)];

  test("shows the pinned tile before anything else", () => expect(onStage([me, ada, bob, screen], tileKey(ada), "bob")).toBe(ada));
  test("shows a shared screen before people", () => expect(onStage([me, ada, bob, screen], undefined, "ada")).toBe(screen));
  test("shows who spoke last", () => expect(onStage([me, ada, bob], undefined, "bob")).toBe(bob));
  test("does not put oneself on one's own stage for speaking", () => expect(onStage([me, ada, bob], undefined, "me")).toBe(ada));
  test("shows oneself when alone", () => expect(onStage([me], undefined, undefined)).toBe(me));
  test("forgets a pin that has left", () => expect(onStage([me, ada], "bob/camera", undefined)).toBe(ada));
});

describe("the grid", () => {
  test.each([
    [1, 1280, 700, 1, 1],
    [2, 1280, 700, 2, 1],
    [3, 1280, 700, 2, 2],
    [3, 924, 670, 2, 2],
    [4, 1280, 700, 2, 2],
    [5, 1280, 700, 3, 2],
    [9, 1280, 700, 3, 3],
    [2, 348, 620, 1, 2],
    [3, 348, 620, 1, 3],
    [4, 348, 620, 2, 2],
    [0, 348, 620, 1, 1],
  ])("of %d tiles in %d x %d has %d columns and %d rows", (count, width, height, columns, rows) =>
    expect(bestGrid(count, width, height)).toEqual({ columns, rows }),
  );
  test("scrolls rather than showing slivers", () => expect(bestGrid(40, 348, 620).columns).toBeLessThanOrEqual(3));
});
