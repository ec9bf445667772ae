// The rows of the matrix.

import { StockPage, WhepPlayer, WhipPublisher } from "./browser.mjs";
import { openPython } from "./native.mjs";

// The identity decides colour and tone; Firefox's microphone knows but one.
const PEOPLE = { chromium: "ada", firefox: "fay" };
const NAMES = { chromium: "Chromium", firefox: "Firefox" };

const NOT_YET = async () => "not tried here yet: behind the test's gate Bob is not told of Firefox's tracks; \"tests/calls\" and \"tests/resume\" have Firefox without it";

function inBrowser(name, browser, open, options = {}) {
  return { name: `${name}, ${NAMES[browser]}`, identity: PEOPLE[browser], open, options: { browser, ...options } };
}

/** `open({stage, identity, ...options})` makes a client; `missing()`, where there is one, says why this machine cannot. */
export const KINDS = [
  inBrowser("livekit-client on one connection", "chromium", StockPage.open, { single: true }),
  inBrowser("livekit-client on two connections", "chromium", StockPage.open, { single: false }),
  { ...inBrowser("livekit-client on one connection", "firefox", StockPage.open, { single: true }), missing: NOT_YET },
  { ...inBrowser("livekit-client on two connections", "firefox", StockPage.open, { single: false }), missing: NOT_YET },
  { name: "Python SDK", identity: "pia", open: openPython },
  ...["chromium", "firefox"].flatMap((browser) => [
    inBrowser("WHIP page", browser, (asked) => WhipPublisher.open(asked)),
    inBrowser("WHEP page", browser, (asked) => WhepPlayer.open(asked)),
  ]),
];
