// The stock client in a browser that passes for Safari: harness/safari.js says in what.

import assert from "node:assert/strict";
import { SAFARI, becomeSafari } from "../harness/safari.js";
import { StockPage } from "./browser.mjs";

/** A page of such a browser; with `honest`, one that says what it is. */
export async function safariPage(stage, browser, { honest = false } = {}) {
  const page = await stage[browser].page(honest ? {} : { userAgent: SAFARI });
  await page.addInitScript(becomeSafari);
  await page.goto(stage.site.url);
  return page;
}

/** Sections that carried one track after the other, as sentences. */
export const replacedIn = (page) => page.evaluate(() => window.replaced);

class SafariPage extends StockPage {
  codec = "video/H264";

  static async open({ stage, browser, identity, single }) {
    const page = await safariPage(stage, browser);
    return Object.assign(new SafariPage(stage.server, page, identity), { single });
  }

  publish() {
    return super.publish({ codec: "h264" });
  }

  async leave() {
    await super.leave();
    assert.deepEqual(await replacedIn(this.page), []);
  }
}

const row = (connections, single) => ({ name: `shaped like Safari, livekit-client on ${connections}`, identity: "ada", open: SafariPage.open, options: { browser: "chromium", single } });

/** Rows of the matrix. */
export const SHAPED_LIKE_SAFARI = [row("one connection", true), row("two connections", false)];
