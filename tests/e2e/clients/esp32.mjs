// A device shaped like LiveKit's SDK for the ESP32: python/esp32.py says in what.

import { startPythonProgram } from "../lib/python.mjs";
import { NativeClient } from "./native.mjs";

class Device extends NativeClient {
  lacks = { see: "it receives one track of sound, and no picture" };
  codec = "video/H264";
  mutes = false;
  joinsAnew = true;

  static async open(asked) {
    return new Device(asked, (person) => startPythonProgram("ESP32-shaped", "esp32.py", person));
  }

  /** There is nothing to see. */
  async watches() {}

  async leave() {
    await this.process.sees("nothing that the SDK could not take", ({ faults }) => faults.length === 0);
    await super.leave();
  }
}

const remarks = { mute: "it cannot mute its own tracks", "socket cut": "it never resumes, but joins anew" };

/** Rows of the matrix. */
export const ESP32 = [{ name: "shaped like the ESP32 SDK, protocol 1", identity: "pia", open: Device.open, remarks }];
