import { expect, test } from "vitest";
import { linkify } from "../src/lib/linkify";

test("a message without links is one piece", () => expect(linkify("hello")).toEqual([{ text: "hello" }]));
test("a link in a sentence leaves the full stop outside", () =>
  expect(linkify("See https://stoa.example/a?b=1. Bye")).toEqual([
    { text: "See " },
    { text: "https://stoa.example/a?b=1", href: "https://stoa.example/a?b=1" },
    { text: ". Bye" },
  ]));
test("a script address is not a link", () => expect(linkify("javascript:alert(1)")).toEqual([{ text: "javascript:alert(1)" }]));
test("nothing gives nothing", () => expect(linkify("")).toEqual([]));
