// The crate `client`: its example `pipe`, which has no codecs, with PyAV's.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { STOA } from "../lib/paths.mjs";
import { startPythonProgram } from "../lib/python.mjs";
import { NativeClient } from "./native.mjs";

/** Cargo puts it there with the server, and with every run of the tests. */
const PIPE = join(dirname(STOA), "examples", "pipe");

async function open(asked) {
  if (!existsSync(PIPE)) throw new Error(`no client at ${PIPE}: build it with \`cargo build -p client --example pipe\``);
  return new NativeClient(asked, (person) => startPythonProgram("Rust", "pipe_person.py", person, { before: [PIPE] }));
}

/** Rows of the matrix. */
export const RUST = [{ name: "Rust client", identity: "pia", open }];
