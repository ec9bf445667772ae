// The way to the signal port: a relay that can be cut, and mended, while media goes on beside it.

import { connect, createServer } from "node:net";

/** Starts a relay to the server's signal port. `socketUrl` is its address for clients. */
export async function startRelay(server) {
  const to = Number(new URL(server.url).port);
  const open = new Set();
  let whole = true;
  const relay = createServer((client) => {
    if (!whole) return void client.resetAndDestroy();
    const upstream = connect(to, "127.0.0.1");
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      open.add(one);
      one.pipe(other);
      one.on("error", () => undefined).on("close", () => { open.delete(one); other.destroy(); });
    }
  });
  await new Promise((resolve) => relay.listen(0, "127.0.0.1", resolve));
  return {
    socketUrl: `ws://127.0.0.1:${relay.address().port}`,
    /** Resets all connections, and new ones until `mend()`. */
    cut() {
      whole = false;
      open.forEach((socket) => socket.resetAndDestroy());
    },
    mend() {
      whole = true;
    },
    async stop() {
      const closed = new Promise((resolve) => relay.close(resolve));
      open.forEach((socket) => socket.destroy());
      await closed;
    },
  };
}
