// A page that publishes by WHIP or plays by WHEP.

import { LOOKS, Person } from "./person.mjs";

export class WhipPage extends Person {
  /** Opens the page in a window of its own. */
  static async open({ server, site }, browser, identity) {
    const page = await browser.page();
    await page.goto(`${site.url}whip.html`);
    return new WhipPage(server, page, identity);
  }

  /** Publishes into the room. */
  async whip(room, options = {}) {
    const token = await this.server.token(room, this.identity, { grants: options.grants });
    return this.do("publish", { url: `${this.server.url}/whip`, token, ...(LOOKS[this.identity] ?? LOOKS.ada), ...options });
  }

  /** Plays the room. The token names it, so the path need not; here it does. */
  async whep(room) {
    const token = await this.server.token(room, this.identity);
    return this.do("play", { url: `${this.server.url}/whep/${encodeURIComponent(room)}`, token });
  }
}
