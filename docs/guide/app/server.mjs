// The back end: it serves the page, and gives a token to everybody who says a name. Yours asks for a password first.

import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { AccessToken } from "livekit-server-sdk";

const { STOA_URL = "ws://127.0.0.1:7880", STOA_KEY = "devkey", STOA_SECRET = "secret", PORT = "8000" } = process.env;

const files = {
  "/": ["text/html", new URL("index.html", import.meta.url)],
  "/livekit-client.mjs": ["text/javascript", new URL(import.meta.resolve("livekit-client"))],
};

createServer(async (request, response) => {
  const url = new URL(request.url, "http://localhost");
  if (url.pathname === "/token") {
    const [name, room] = [url.searchParams.get("name"), url.searchParams.get("room")];
    if (!name || !room) return response.writeHead(400).end("name and room are needed");
    const token = new AccessToken(STOA_KEY, STOA_SECRET, { identity: name });
    token.addGrant({ roomJoin: true, room });
    response.writeHead(200, { "content-type": "application/json" });
    return response.end(JSON.stringify({ url: STOA_URL, token: await token.toJwt() }));
  }
  const file = files[url.pathname];
  if (!file) return response.writeHead(404).end();
  response.writeHead(200, { "content-type": file[0] });
  createReadStream(file[1]).pipe(response);
}).listen(PORT, "127.0.0.1", () => console.log(`open http://localhost:${PORT}`));
