import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "../dist/cbor.js";
import { codecOf } from "../dist/codec.js";

const hex = (text) => Uint8Array.from(text.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));

// Of RFC 8949, appendix A.
const EXAMPLES = [
  ["00", 0], ["17", 23], ["1818", 24], ["1903e8", 1000], ["1a000f4240", 1_000_000], ["1b000000e8d4a51000", 1_000_000_000_000], ["20", -1], ["3863", -100],
  ["3903e7", -1000], ["f4", false], ["f5", true], ["f6", null], ["60", ""], ["6161", "a"], ["62c3bc", "ü"], ["64f0908591", "𐅑"], ["80", []],
  ["83010203", [1, 2, 3]], ["a0", {}], ["a26161016162820203", { a: 1, b: [2, 3] }], ["fb3ff199999999999a", 1.1], ["fbc010666666666666", -4.1],
];
const ONLY_READ = [
  ["f93c00", 1], ["f97bff", 65_504], ["f90001", 5.960464477539063e-8], ["f9c400", -4], ["fa47c35000", 100_000], ["9f018202039f0405ffff", [1, [2, 3], [4, 5]]],
  ["7f657374726561646d696e67ff", "streaming"], ["bf61610161629f0203ffff", { a: 1, b: [2, 3] }], ["1800", 0],
];

test("the examples of the standard are read, and written in their shortest form", () => {
  for (const [bytes, value] of EXAMPLES) {
    assert.deepEqual(decode(hex(bytes)), value, bytes);
    assert.deepEqual(encode(value), hex(bytes), bytes);
  }
  for (const [bytes, value] of ONLY_READ) assert.deepEqual(decode(hex(bytes)), value, bytes);
});

test("what is written is read as it was, with every length of a text and what JSON leaves out", () => {
  for (const length of [0, 23, 24, 255, 256, 65_535, 65_536]) assert.equal(decode(encode("x".repeat(length))).length, length);
  assert.deepEqual(decode(encode({ a: undefined, b: [undefined], c: Number.NaN, d: new Date(0) })), { b: [null], c: null, d: "1970-01-01T00:00:00.000Z" });
  assert.deepEqual(Object.keys(decode(encode(JSON.parse('{"__proto__":1}')))), ["__proto__"]);
});

test("what is no CBOR, or no JSON, is refused; nothing runs long", () => {
  const bad = ["", "18", "61", "62c328", "9b7fffffffffffffff", "bbffffffffffffffff", "4101", "c100", "f7", "f8ff", "1c", "8101ff", "a10101", "0000", "ff", "81".repeat(100) + "00", "7f4101ff", "9f01"];
  for (const bytes of bad) assert.throws(() => decode(hex(bytes)), `${bytes}`);
});

test("both encodings say the same", () => {
  const [json, cbor] = [codecOf("json"), codecOf("cbor")];
  assert.deepEqual(JSON.parse(json.command(7, "typing", { channel: "c" })), decode(cbor.command(7, "typing", { channel: "c" })));
  const push = { v: 1, events: { channel: "c", cursor: "x", items: [{ id: "eu.1.1", body: { a: null } }] } };
  assert.deepEqual(cbor.parse(encode(push)), json.parse(JSON.stringify(push)));
  assert.throws(() => cbor.parse("{}"));
  assert.throws(() => json.parse(encode(push)));
});
