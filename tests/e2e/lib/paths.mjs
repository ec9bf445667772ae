import { mkdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const SUITE = dirname(dirname(fileURLToPath(import.meta.url)));
export const REPOSITORY = dirname(dirname(SUITE));

/** Screenshots, logs and generated media. */
export const ARTEFACTS = join(REPOSITORY, "target", "e2e");
mkdirSync(ARTEFACTS, { recursive: true });

/** The server under test, and the commands of the repository. Relative paths are the caller's: npm moves into the suite's folder and keeps the origin in INIT_CWD. */
export const STOA = binary("STOA_BIN", "stoa");
export const XTASK = binary("XTASK_BIN", "xtask");

function binary(variable, name) {
  const path = process.env[variable];
  return path ? resolve(process.env.INIT_CWD ?? process.cwd(), path) : join(REPOSITORY, "target", "debug", name);
}
