// The stock client in a browser, and pages that publish by WHIP and play by WHEP.

import { Person } from "../lib/person.mjs";
import { WHEP_LACKS, WHIP_LACKS } from "./http.mjs";

const SIZE = { width: 640, height: 360 };

export class StockPage extends Person {
  lacks = {};
  publishes = true;
  plays = true;
  size = SIZE;

  /** Opens the harness in a page of its own. `single` chooses one connection or two. Firefox on two was seen to join anew after an outage. */
  static async open({ stage, browser, identity, single }) {
    const page = await stage[browser].page();
    await page.goto(stage.site.url);
    return Object.assign(new StockPage(stage.server, page, identity), { single, mayJoinAnew: browser === "firefox" && !single });
  }

  join(room, gate) {
    return super.join(room, { single: this.single, socketUrl: gate.socketUrl });
  }

  setMuted(muted) {
    return this.do("setMuted", { source: "microphone", muted });
  }

  send(text) {
    return this.do("send", { text, reliable: true });
  }

  receives(text, from) {
    return super.receives({ text, from: from.identity });
  }

  async pictures(other) {
    return (await this.do("video", { identity: other.identity })).frames;
  }

  async resume(gate) {
    await this.do("forgetEvents");
    gate.cut();
    await this.notices({ kind: "signalReconnecting" });
    gate.mend();
    await this.notices({ kind: "reconnected" });
  }

  leave() {
    return this.do("leave");
  }
}

class HttpPage extends Person {
  size = SIZE;

  static async open({ stage, browser, identity }) {
    const page = await stage[browser].page();
    await page.goto(`${stage.site.url}whip.html`);
    return new this(stage.server, page, identity);
  }

  leave() {
    return this.do("end");
  }
}

/** Publishes by WHIP. */
export class WhipPublisher extends HttpPage {
  publishes = true;
  plays = false;
  joinsWith = "publish";
  lacks = WHIP_LACKS;

  async join(room, gate) {
    const token = await this.server.token(room, this.identity);
    await this.do("publish", { url: `${gate.url}/whip`, token, ...this.look });
  }

  async publish() {}
}

/** Plays by WHEP. */
export class WhepPlayer extends HttpPage {
  publishes = false;
  plays = true;
  lacks = WHEP_LACKS;

  async join(room, gate) {
    const token = await this.server.token(room, this.identity);
    await this.do("play", { url: `${gate.url}/whep`, token });
  }

  async pictures() {
    return (await this.do("video")).frames;
  }
}
