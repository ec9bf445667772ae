// What WHIP and WHEP do not have, whoever speaks them, and clients that speak them in processes of their own.

import { NativeClient } from "./native.mjs";

const NO_SOCKET = "there is no signal connection: HTTP requests only";
const NO_DATA = "has no data channels here";

export const WHIP_LACKS = { see: "WHIP only publishes", hear: "WHIP only publishes", mute: "WHIP has no message for it", data: `WHIP ${NO_DATA}`, "socket cut": NO_SOCKET };
export const WHEP_LACKS = { publish: "WHEP only plays", data: `WHEP ${NO_DATA}`, "socket cut": NO_SOCKET };

class HttpClient extends NativeClient {
  address(gate) {
    return gate.url + this.path;
  }
}

/** Publishes by WHIP. */
export class NativePublisher extends HttpClient {
  path = "/whip";
  plays = false;
  joinsWith = "publish";
  lacks = WHIP_LACKS;
}

/** Plays by WHEP. */
export class NativePlayer extends HttpClient {
  path = "/whep";
  publishes = false;
  lacks = WHEP_LACKS;

  /** Players do not know who it is that they play. */
  async sees(other, what, good) {
    const { seen } = await this.process.sees(`${other.identity}: ${what}`, ({ seen }) => good(seen));
    return seen;
  }
}
