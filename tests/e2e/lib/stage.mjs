// What every test file sets up: server, harness page, browsers; and takes down again, in any case.

import { startChromium, startFirefox } from "./browsers.mjs";
import { startLink } from "./link.mjs";
import { LOOKS, Person } from "./person.mjs";
import { startRelay } from "./relay.mjs";
import { startServer } from "./server.mjs";
import { startSite } from "./site.mjs";

/**
 * Starts what is asked for. `close()` stops everything that was started, also after a failure half-way. `link()` makes a bad network
 * for one person; the server must then have one worker.
 */
export async function openStage(name, { firefox = false, chromiumArgs = [], workers, args } = {}) {
  const running = [];
  const start = async (starting) => {
    const part = await starting;
    running.push(part);
    return part;
  };
  const stage = {
    async close() {
      for (const part of running.reverse()) await part.stop();
    },
    /** A way to the signal port that can be cut; whoever starts it stops it. */
    relay: () => startRelay(stage.server),
    person: (browser, identity, link) => Person.open(stage.server, stage.site, browser, identity, link),
    link: async (conditions) => start(startLink(stage.server.udpPorts[0], conditions)),
  };
  try {
    stage.server = await start(startServer(name, { workers, args }));
    stage.site = await start(startSite());
    stage.chromium = await start(startChromium({ args: chromiumArgs }));
    if (firefox) stage.firefox = await start(startFirefox({ tone: LOOKS.fay.tone }));
  } catch (error) {
    await stage.close();
    throw error;
  }
  return stage;
}

let rooms = 0;

/** A room name that no other test uses. */
export function freshRoom(topic) {
  rooms += 1;
  return `${topic}-${process.pid}-${rooms}`;
}
