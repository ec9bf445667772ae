import { writeFile } from "node:fs/promises";

const RATE = 48_000;
const HEADER_BYTES = 44;
// A whole number of periods for every whole frequency: the loop has no click.
const SECONDS = 1;

/** Writes one second of a steady tone as 16-bit mono WAV, which browsers play in a loop. Resolves with the path. */
export async function writeTone(path, hertz) {
  const samples = RATE * SECONDS;
  const file = Buffer.alloc(HEADER_BYTES + samples * 2);
  file.write("RIFF", 0);
  file.writeUInt32LE(file.length - 8, 4);
  file.write("WAVEfmt ", 8);
  file.writeUInt32LE(16, 16);
  file.writeUInt16LE(1, 20);
  file.writeUInt16LE(1, 22);
  file.writeUInt32LE(RATE, 24);
  file.writeUInt32LE(RATE * 2, 28);
  file.writeUInt16LE(2, 32);
  file.writeUInt16LE(16, 34);
  file.write("data", 36);
  file.writeUInt32LE(samples * 2, 40);
  for (let index = 0; index < samples; index++) {
    file.writeInt16LE(Math.round(8000 * Math.sin((2 * Math.PI * hertz * index) / RATE)), HEADER_BYTES + index * 2);
  }
  await writeFile(path, file);
  return path;
}
