// A bare signal connection, for what no client library would send.

import { SignalRequest, SignalResponse } from "@livekit/protocol";
import WebSocket from "ws";

/** Opens `/rtc` with a token; resolves with the socket once the server has answered with its first message. */
export function openSignal(server, token, query = "protocol=16&auto_subscribe=1") {
  const socket = new WebSocket(`${server.socketUrl}/rtc?${query}&access_token=${token}`);
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("message", (frame) => {
      // From here on the server may close it as rudely as it likes.
      socket.on("error", () => undefined);
      resolve({
        socket,
        first: SignalResponse.fromBinary(frame),
        send: (message) => socket.send(new SignalRequest({ message }).toBinary()),
        closed: new Promise((done) => socket.once("close", done)),
      });
    });
  });
}

/** What the validate path says of a token: status and text. */
export async function validate(server, token, path = "/rtc/validate") {
  const response = await fetch(`${server.url}${path}?access_token=${token}&protocol=16`);
  return { status: response.status, text: await response.text(), cors: response.headers.get("access-control-allow-origin") };
}
