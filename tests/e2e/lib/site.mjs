// A local address for the harness page: browsers give cameras and sound only to pages that came over HTTP from localhost.

import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { SUITE } from "./paths.mjs";

const FILES = {
  "/": ["harness/index.html", "text/html; charset=utf-8"],
  "/whip.html": ["harness/whip.html", "text/html; charset=utf-8"],
  "/whip.js": ["harness/whip.js", "text/javascript"],
  "/shaped.html": ["harness/shaped.html", "text/html; charset=utf-8"],
  "/shaped.js": ["harness/shaped.js", "text/javascript"],
  "/harness.js": ["harness/harness.js", "text/javascript"],
  "/data.js": ["harness/data.js", "text/javascript"],
  "/media.js": ["harness/media.js", "text/javascript"],
  "/onsets.js": ["harness/onsets.js", "text/javascript"],
  "/e2ee-worker.js": ["node_modules/livekit-client/dist/livekit-client.e2ee.worker.js", "text/javascript"],
  "/frame-worker.js": ["node_modules/livekit-client/dist/livekit-client.fm.worker.js", "text/javascript"],
  "/livekit-client.js": ["node_modules/livekit-client/dist/livekit-client.umd.js", "text/javascript"],
};

/** Serves the harness page; returns its address and a way to stop. */
export async function startSite() {
  const server = createServer((request, response) => {
    const found = FILES[new URL(request.url, "http://localhost").pathname];
    if (!found) return void response.writeHead(404).end();
    response.writeHead(200, { "content-type": found[1] });
    createReadStream(join(SUITE, found[0])).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, stop };
}
