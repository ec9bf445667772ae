// aiortc, of PyPI: a peer connection in Python, here as publisher by WHIP and as player by WHEP.

import { startPythonProgram } from "../lib/python.mjs";
import { NativePlayer, NativePublisher } from "./http.mjs";

const start = (person) => startPythonProgram("aiortc", "aiortc_person.py", person);

const NO_RESTART = "it has no restart of ICE, and goes on with the pair of candidates that it has";

/** Rows of the matrix. */
export const AIORTC = [
  { name: "WHIP, aiortc", identity: "pia", open: async (asked) => new NativePublisher(asked, start), remarks: { "path cut": NO_RESTART } },
  { name: "WHEP, aiortc", identity: "pia", open: async (asked) => new NativePlayer(asked, start), remarks: { "path cut": NO_RESTART } },
];
