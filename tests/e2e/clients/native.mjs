// Clients that are processes of their own. They report what they receive, in the words of python/person.py.

import { join } from "node:path";
import { LOOKS } from "../lib/person.mjs";
import { SUITE } from "../lib/paths.mjs";
import { startPerson, startPython } from "../lib/python.mjs";

// Pitches are measured in steps of 6 Hz.
const TONE_TOLERANCE_HZ = 12;
const COLOUR_TOLERANCE = 45;
const PICTURES_TO_SEE = 10;

const near = (value, wanted, tolerance) => Math.abs(value - wanted) <= tolerance;

export class NativeClient {
  lacks = {};
  publishes = true;
  plays = true;
  size = { width: 320, height: 180 };

  /** `start({url, token, tone, colour})` begins the process. */
  constructor({ stage, identity }, start) {
    Object.assign(this, { stage, identity, start, look: LOOKS[identity] ?? LOOKS.pia });
  }

  async join(room, gate) {
    const token = await this.stage.server.token(room, this.identity);
    this.process = this.start({ url: this.address(gate), token, tone: this.look.tone, colour: this.look.rgb });
    // They report from when they are in; one that cannot join ends, and its words are in the error.
    await this.process.sees("that it is in", (report) => Object.keys(report).length > 0);
  }

  address(gate) {
    return gate.socketUrl;
  }

  /** It does so by itself. */
  async publish() {}

  async watches(other) {
    const { frames: before } = await this.sees(other, "to come", (seen) => seen?.frames > 0);
    const right = ({ frames, width, colour }) => frames >= before + PICTURES_TO_SEE && width === 640 && colour.every((channel, index) => near(channel, other.look.rgb[index], COLOUR_TOLERANCE));
    return this.sees(other, "moving, in the right size and colour", right);
  }

  hears(other) {
    return this.sees(other, "tone", (seen) => near(seen?.hz, other.look.tone, TONE_TOLERANCE_HZ));
  }

  hearsNothingFrom(other) {
    return this.sees(other, "silence", (seen) => seen?.hz === 0);
  }

  async setMuted(muted) {
    this.process.order({ mute: muted });
  }

  async send(text) {
    this.process.order({ say: text });
  }

  receives(text, from) {
    return this.process.sees(`"${text}"`, ({ messages }) => messages?.some((message) => message.text === text && message.from === from.identity));
  }

  async pictures(other) {
    return (await this.sees(other, "known", Boolean)).frames;
  }

  /** It tries to resume once, and joins anew if that fails. */
  async resume(gate) {
    const { states } = await this.process.sees("its states", ({ states }) => states !== undefined);
    gate.cut();
    gate.mend();
    await this.process.sees("that it has reconnected", (report) => report.states.length > states.length && report.states.at(-1) === "reconnected");
  }

  leave() {
    return this.process.stop();
  }

  async close() {
    await this.process?.stop();
  }

  /** Waits until what it reports of the other is good; resolves with that. */
  async sees(other, what, good) {
    const { people } = await this.process.sees(`${other.identity}: ${what}`, ({ people }) => good(people?.[other.identity]));
    return people[other.identity];
  }
}

/** The Python SDK. */
export async function openPython(asked) {
  return new NativeClient(asked, startPython);
}

/** The Node SDK, which cannot mute its own tracks. */
export async function openNode(asked) {
  const start = (person) => startPerson("Node", process.execPath, [join(SUITE, "clients", "node-person.mjs")], person);
  return Object.assign(new NativeClient(asked, start), { mutes: false });
}
