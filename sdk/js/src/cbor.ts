// CBOR (RFC 8949) of the JSON data model: what the subprotocol `stoa.v1.cbor` carries. Byte strings, tags and other simple values are
// refused, as the server refuses them.

const MOST_LEVELS = 40;

/** Bytes that are no CBOR, or more than the JSON data model. */
export class CborError extends Error {
  override readonly name = "CborError";
}

export function encode(value: unknown): Uint8Array {
  const writer = new Writer();
  writer.value(value, 0);
  return writer.bytes();
}

export function decode(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (!reader.atEnd) throw new CborError("bytes after the value");
  return value;
}

class Writer {
  #bytes = new Uint8Array(256);
  #at = 0;

  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }

  value(value: unknown, level: number): void {
    if (level > MOST_LEVELS) throw new CborError("too many levels");
    if (value === null || value === undefined) this.#byte(0xf6);
    else if (typeof value === "boolean") this.#byte(value ? 0xf5 : 0xf4);
    else if (typeof value === "number") this.#number(value);
    else if (typeof value === "string") this.#text(value);
    else if (Array.isArray(value)) this.#array(value, level);
    else if (typeof value === "object") this.#map(value as Record<string, unknown>, level);
    else throw new CborError(`a ${typeof value} cannot be sent`);
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
      if (value >= 0) this.#head(0, value);
      else this.#head(1, -1 - value);
      return;
    }
    // As JSON has it.
    if (!Number.isFinite(value)) return this.#byte(0xf6);
    this.#byte(0xfb);
    new DataView(this.#room(8)).setFloat64(this.#at, value);
    this.#at += 8;
  }

  #text(value: string): void {
    const utf8 = new TextEncoder().encode(value);
    this.#head(3, utf8.length);
    this.#room(utf8.length);
    this.#bytes.set(utf8, this.#at);
    this.#at += utf8.length;
  }

  #array(values: unknown[], level: number): void {
    this.#head(4, values.length);
    for (const value of values) this.value(value, level + 1);
  }

  #map(map: Record<string, unknown>, level: number): void {
    if (typeof map.toJSON === "function") return this.value(map.toJSON(), level + 1);
    const entries = Object.entries(map).filter(([, value]) => value !== undefined);
    this.#head(5, entries.length);
    for (const [key, value] of entries) {
      this.#text(key);
      this.value(value, level + 1);
    }
  }

  #head(major: number, length: number): void {
    const type = major << 5;
    if (length < 24) return this.#byte(type | length);
    const size = length < 0x100 ? 1 : length < 0x1_0000 ? 2 : length < 0x1_0000_0000 ? 4 : 8;
    this.#byte(type | (24 + Math.log2(size)));
    const view = new DataView(this.#room(size));
    if (size === 1) view.setUint8(this.#at, length);
    else if (size === 2) view.setUint16(this.#at, length);
    else if (size === 4) view.setUint32(this.#at, length);
    else view.setBigUint64(this.#at, BigInt(length));
    this.#at += size;
  }

  #byte(byte: number): void {
    this.#room(1);
    this.#bytes[this.#at++] = byte;
  }

  #room(bytes: number): ArrayBuffer {
    if (this.#at + bytes > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + bytes));
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    return this.#bytes.buffer;
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  value(level: number): unknown {
    if (level > MOST_LEVELS) throw new CborError("too many levels");
    const head = this.#uint(1);
    const [major, info] = [head >> 5, head & 31];
    switch (major) {
      case 0: return this.#argument(info);
      case 1: return -1 - this.#argument(info);
      case 3: return this.#text(info);
      case 4: return this.#array(info, level);
      case 5: return this.#map(info, level);
      case 7: return this.#simple(info);
      default: throw new CborError(`a value of major type ${major}`);
    }
  }

  #simple(info: number): unknown {
    if (info === 20 || info === 21) return info === 21;
    if (info === 22) return null;
    if (info === 25) return this.#half();
    if (info === 26 || info === 27) return this.#float(info === 26 ? 4 : 8);
    throw new CborError(`the simple value ${info}`);
  }

  #float(size: 4 | 8): number {
    const at = this.#skip(size);
    return size === 4 ? this.#view.getFloat32(at) : this.#view.getFloat64(at);
  }

  #half(): number {
    const bits = this.#uint(2);
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    const size = exponent === 0 ? fraction * 2 ** -24
      : exponent === 31 ? (fraction ? Number.NaN : Number.POSITIVE_INFINITY)
      : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return bits & 0x8000 ? -size : size;
  }

  #text(info: number): string {
    if (info === 31) return this.#pieces();
    const length = this.#argument(info);
    const at = this.#skip(length);
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.#bytes.subarray(at, at + length));
  }

  /** A text of indefinite length. */
  #pieces(): string {
    let text = "";
    while (!this.#break()) {
      const head = this.#uint(1);
      if (head >> 5 !== 3 || (head & 31) === 31) throw new CborError("a text with something else in it");
      text += this.#text(head & 31);
    }
    return text;
  }

  #array(info: number, level: number): unknown[] {
    const values: unknown[] = [];
    const more = this.#members(info);
    while (more()) values.push(this.value(level + 1));
    return values;
  }

  #map(info: number, level: number): Record<string, unknown> {
    const map: Record<string, unknown> = {};
    const more = this.#members(info);
    while (more()) {
      const key = this.value(level + 1);
      if (typeof key !== "string") throw new CborError("a key that is no text");
      // Not by assignment, which `__proto__` would turn into something else.
      Object.defineProperty(map, key, { value: this.value(level + 1), enumerable: true, configurable: true, writable: true });
    }
    return map;
  }

  #members(info: number): () => boolean {
    if (info === 31) return () => !this.#break();
    let left = this.#argument(info);
    // Each takes a byte at least: a length that lies makes no long loop.
    if (left > this.#bytes.length - this.#at) throw new CborError("it ends too early");
    return () => left-- > 0;
  }

  #break(): boolean {
    if (this.#bytes[this.#at] !== 0xff) return false;
    this.#at++;
    return true;
  }

  #argument(info: number): number {
    if (info < 24) return info;
    if (info > 27) throw new CborError("a length that is not known");
    return this.#uint(2 ** (info - 24));
  }

  #uint(size: number): number {
    const at = this.#skip(size);
    if (size === 1) return this.#view.getUint8(at);
    if (size === 2) return this.#view.getUint16(at);
    if (size === 4) return this.#view.getUint32(at);
    return Number(this.#view.getBigUint64(at));
  }

  /** Where the next so many bytes begin. */
  #skip(bytes: number): number {
    const at = this.#at;
    if (bytes > this.#bytes.length - at) throw new CborError("it ends too early");
    this.#at += bytes;
    return at;
  }
}
