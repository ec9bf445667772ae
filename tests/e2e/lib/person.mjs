// A person in a browser: the harness page behind plain methods, and the checks that every test makes.

import assert from "node:assert/strict";
import { goBehind } from "./link.mjs";
import { until } from "./until.mjs";

/** Colours and tones by which the people of a test are told apart. */
export const LOOKS = {
  ada: { colour: "#c81e1e", rgb: [200, 30, 30], tone: 440 },
  bob: { colour: "#1e8c1e", rgb: [30, 140, 30], tone: 660 },
  fay: { colour: "#1e3cc8", rgb: [30, 60, 200], tone: 880 },
  pia: { colour: "#b4a014", rgb: [180, 160, 20], tone: 1100 },
};

// Tones are measured in steps of 4 Hz.
const TONE_TOLERANCE_HZ = 8;
const AUDIBLE = 0.01;
const SILENT = 0.001;
// VP8 halves the resolution of colour and rounds it; neighbouring colours above differ by far more.
const COLOUR_TOLERANCE = 45;
const FRAMES_TO_SEE = 10;

export class Person {
  constructor(server, page, identity) {
    this.server = server;
    this.page = page;
    this.identity = identity;
    this.look = LOOKS[identity] ?? LOOKS.ada;
  }

  /** Opens the harness in a new page of `browser`, whose media goes over `link` if there is one. */
  static async open(server, site, browser, identity, link) {
    const page = await browser.page();
    if (link) await page.addInitScript(goBehind, link.port);
    await page.goto(site.url);
    return new Person(server, page, identity);
  }

  /** Calls one function of the harness; an exception in the page carries what the page logged. */
  async do(action, argument) {
    try {
      return await this.page.evaluate(([action, argument]) => window.e2e[action](argument), [action, argument]);
    } catch (error) {
      throw new Error(`${this.identity}: ${action} failed: ${error.message}\n${this.page.troubles.slice(-8).join("\n")}`);
    }
  }

  async join(room, { single = true, options, name, grants, password, appends, socketUrl = this.server.socketUrl } = {}) {
    const token = await this.server.token(room, this.identity, { name, grants });
    this.joined = await this.do("join", { url: socketUrl, token, single, options, password, appends });
    return this.joined;
  }

  publish(media = {}) {
    return this.do("publish", { ...this.look, ...media });
  }

  /** What this person knows of another; undefined while not in the room. */
  async sees(identity) {
    return (await this.do("people")).find((person) => person.identity === identity);
  }

  async trackOf(identity, source) {
    return (await this.sees(identity))?.tracks.find((track) => track.source === source);
  }

  /** Waits until this person decodes the other's moving picture, of the right size and colour. */
  async watches(other, { width = 640, height = 360, source = "camera", rgb = other.look.rgb } = {}) {
    const what = `${this.identity} to see ${other.identity}'s ${source} at ${width}x${height}`;
    const probe = () => this.do("video", { identity: other.identity, source });
    const first = await until(what, probe, (video) => video.frames > 0 && video.width === width && video.height === height);
    return until(`${what}, moving, in the right colour`, probe, (video) => video.frames >= first.frames + FRAMES_TO_SEE && isColour(video.colour, rgb));
  }

  /** Waits until what this person decodes of the other's picture is of this codec ("video/VP8"). */
  decodes(other, codec) {
    const probe = () => this.do("video", { identity: other.identity });
    return until(`${this.identity} to decode ${codec} of ${other.identity}`, probe, (video) => video.codec?.toLowerCase() === codec.toLowerCase());
  }

  /** Waits until this person hears the other's tone. */
  hears(other) {
    const { tone } = other.look;
    return until(
      `${this.identity} to hear ${other.identity}'s tone of ${tone} Hz`,
      () => this.do("tone", { identity: other.identity }),
      ({ hz, amplitude }) => Math.abs(hz - tone) <= TONE_TOLERANCE_HZ && amplitude > AUDIBLE,
    );
  }

  hearsNothingFrom(other) {
    return until(`silence of ${other.identity} at ${this.identity}`, () => this.do("tone", { identity: other.identity }), ({ amplitude }) => amplitude >= 0 && amplitude < SILENT);
  }

  /** Waits for a message that has all the given properties. */
  receives(expected) {
    const matches = (message) => Object.entries(expected).every(([key, value]) => message[key] === value);
    return until(`${this.identity} to receive ${JSON.stringify(expected)}`, () => this.do("messages"), (all) => all.some(matches));
  }

  /** Waits for an event of the client that has all the given properties. */
  notices(expected) {
    const matches = (event) => Object.entries(expected).every(([key, value]) => event[key] === value);
    return until(`${this.identity} to notice ${JSON.stringify(expected)}`, () => this.do("events"), (all) => all.some(matches));
  }

  /**
   * Sound and picture of the other arrive together: within `limit` milliseconds, in the median of a few flashes. The browser aligns
   * them step by step after a start or a change, so the first measurement need not be the good one.
   */
  async inSync(other, limit = 80) {
    const measured = [];
    for (let round = 0; round < SYNC_ROUNDS; round++) {
      const lags = await this.do("lag", { identity: other.identity, count: FLASHES });
      const middle = lags.toSorted((a, b) => a - b)[Math.floor(FLASHES / 2)];
      if (Math.abs(middle) <= limit) return;
      measured.push(`${middle} of ${lags.join(", ")}`);
    }
    assert.fail(`${this.identity}: sound of ${other.identity} lags behind the picture by ms: ${measured.join("; ")}`);
  }

  close() {
    return this.page.leave();
  }
}

const FLASHES = 5;
const SYNC_ROUNDS = 6;

function isColour(seen, wanted) {
  return seen !== undefined && seen.every((channel, index) => Math.abs(channel - wanted[index]) <= COLOUR_TOLERANCE);
}
