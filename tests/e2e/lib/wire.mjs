// A wire between a page and the server that can be cut: pages and signalling come through it, media does not.

import { connect, createServer } from "node:net";

/** Forwards every connection to `server`. `cut()` breaks all of them and refuses new ones until `mend()`. */
export async function startWire(server) {
  const { hostname, port } = new URL(server.url);
  const ends = new Set();
  let whole = true;
  const listener = createServer((near) => {
    if (!whole) return near.destroy();
    const far = connect(Number(port), hostname);
    for (const [end, other] of [[near, far], [far, near]]) {
      ends.add(end);
      end.on("error", () => undefined);
      end.on("close", () => { ends.delete(end); other.destroy(); });
      end.pipe(other);
    }
  });
  const cut = () => {
    whole = false;
    ends.forEach((end) => end.destroy());
  };
  await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${listener.address().port}`,
    cut,
    mend: () => { whole = true; },
    async stop() {
      cut();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}
