// GStreamer's webrtcbin, of Debian, as publisher by WHIP and as player by WHEP.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { startPythonProgram } from "../lib/python.mjs";
import { NativePlayer, NativePublisher } from "./http.mjs";

/** The system's own: Debian's packages have the bindings for that one. */
const PYTHON = "/usr/bin/python3";
const NEEDED = "import numpy, gi.repository.GstWebRTC";
const PACKAGES = "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice gir1.2-gst-plugins-bad-1.0 python3-gi python3-numpy";
const NO_RESTART = "it has no restart of ICE, and goes on with the pair of candidates that it has";

const run = promisify(execFile);
const start = (person) => startPythonProgram("GStreamer", "gstreamer_person.py", person, { python: PYTHON });

async function missing() {
  const checks = [run(PYTHON, ["-c", NEEDED]), ...["opusenc", "vp8enc", "webrtcbin", "nicesrc"].map((element) => run("gst-inspect-1.0", [element]))];
  const found = await Promise.allSettled(checks);
  return found.every(({ status }) => status === "fulfilled") ? undefined : `not on this machine: apt-get install ${PACKAGES}`;
}

/** Rows of the matrix. */
export const GSTREAMER = [
  { name: "WHIP, GStreamer", identity: "pia", open: async (asked) => new NativePublisher(asked, start), remarks: { "path cut": NO_RESTART }, missing },
  { name: "WHEP, GStreamer", identity: "pia", open: async (asked) => new NativePlayer(asked, start), remarks: { "path cut": NO_RESTART }, missing },
];
