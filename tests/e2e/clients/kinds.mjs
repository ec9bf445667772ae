// The rows of the matrix.

import { AIORTC } from "./aiortc.mjs";
import { StockPage, WhepPlayer, WhipPublisher } from "./browser.mjs";
import { ESP32 } from "./esp32.mjs";
import { GSTREAMER } from "./gstreamer.mjs";
import { openNode, openPython } from "./native.mjs";
import { RUST } from "./rust.mjs";
import { SHAPED_LIKE_SAFARI } from "./safari.mjs";
import { SHAPED } from "./shaped.mjs";

// The identity decides colour and tone; Firefox's microphone knows but one.
const PEOPLE = { chromium: "ada", firefox: "fay" };
const NAMES = { chromium: "Chromium", firefox: "Firefox" };

function inBrowser(name, browser, open, options = {}) {
  return { name: `${name}, ${NAMES[browser]}`, identity: PEOPLE[browser], open, options: { browser, ...options } };
}

/** `open({stage, identity, ...options})` makes a client; `missing()`, where there is one, says why this machine cannot. */
export const KINDS = [
  ...["chromium", "firefox"].flatMap((browser) => [
    inBrowser("livekit-client on one connection", browser, StockPage.open, { single: true }),
    inBrowser("livekit-client on two connections", browser, StockPage.open, { single: false }),
  ]),
  { name: "Python SDK", identity: "pia", open: openPython },
  { name: "Node SDK", identity: "pia", open: openNode },
  ...RUST,
  ...["chromium", "firefox"].flatMap((browser) => [
    inBrowser("WHIP page", browser, (asked) => WhipPublisher.open(asked)),
    inBrowser("WHEP page", browser, (asked) => WhepPlayer.open(asked)),
  ]),
  ...AIORTC,
  ...GSTREAMER,
  ...ESP32,
  ...SHAPED,
  ...SHAPED_LIKE_SAFARI,
];
