// Makes the clip that the native client plays in `stoa load` and in its tests: two seconds of a made-up camera, encoded by Chromium in
// three sizes (VP8 in IVF), and of a voice (Opus in Ogg). Each file begins with its only keyframe, so that it can be played in a loop and
// begun anew when somebody asks for a keyframe.
//
//   node tests/e2e/tools/record-clip.mjs crates/client/media

import { createServer } from "node:http";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { startChromium } from "../lib/browsers.mjs";

const folder = process.argv[2];
const FPS = 30;
const SECONDS = 2;
const SIZES = [
  { width: 320, height: 180, bitrate: 120_000 },
  { width: 640, height: 360, bitrate: 350_000 },
  { width: 1280, height: 720, bitrate: 1_000_000 },
];

/** In the page: frames of a scene with motion and texture, as arrays of bytes. */
async function encodeVideo({ width, height, bitrate, fps, seconds }) {
  const frames = [];
  const encoder = new VideoEncoder({
    output: (chunk) => {
      const bytes = new Uint8Array(chunk.byteLength);
      chunk.copyTo(bytes);
      frames.push(Array.from(bytes));
    },
    error: (error) => { throw error; },
  });
  encoder.configure({ codec: "vp8", width, height, bitrate, framerate: fps, latencyMode: "realtime" });
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d");
  for (let at = 0; at < fps * seconds; at++) {
    const turn = (2 * Math.PI * at) / (fps * seconds);
    const sky = pen.createLinearGradient(0, 0, width, height);
    sky.addColorStop(0, `hsl(${200 + 20 * Math.sin(turn)} 60% 60%)`);
    sky.addColorStop(1, "#24456b");
    pen.fillStyle = sky;
    pen.fillRect(0, 0, width, height);
    for (let ring = 0; ring < 24; ring++) {
      pen.fillStyle = `hsl(${ring * 15} 70% 55%)`;
      const angle = turn + (ring * Math.PI) / 12;
      pen.beginPath();
      pen.arc(width / 2 + (width / 3) * Math.cos(angle), height / 2 + (height / 3) * Math.sin(angle * 2), height / 18, 0, 7);
      pen.fill();
    }
    const frame = new VideoFrame(canvas, { timestamp: (at * 1e6) / fps });
    encoder.encode(frame, { keyFrame: at === 0 });
    frame.close();
    while (encoder.encodeQueueSize > 2) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await encoder.flush();
  return frames;
}

/** In the page: a tone that swells and fades like syllables. */
async function encodeAudio({ seconds }) {
  const packets = [];
  const encoder = new AudioEncoder({
    output: (chunk) => {
      const bytes = new Uint8Array(chunk.byteLength);
      chunk.copyTo(bytes);
      packets.push(Array.from(bytes));
    },
    error: (error) => { throw error; },
  });
  encoder.configure({ codec: "opus", sampleRate: 48_000, numberOfChannels: 1, bitrate: 32_000 });
  for (let frame = 0; frame < seconds * 50; frame++) {
    const data = new Float32Array(960);
    for (let index = 0; index < 960; index++) {
      const time = (frame * 960 + index) / 48_000;
      const loud = 0.25 * (0.5 - 0.5 * Math.cos(2 * Math.PI * time * 2));
      for (const overtone of [1, 2, 3, 5]) data[index] += (loud / overtone) * Math.sin(2 * Math.PI * 150 * overtone * time);
    }
    const sound = { format: "f32", sampleRate: 48_000, numberOfFrames: 960, numberOfChannels: 1, timestamp: frame * 20_000, data };
    const audio = new AudioData(sound);
    encoder.encode(audio);
    audio.close();
  }
  await encoder.flush();
  return packets;
}

function ivf({ width, height }, frames) {
  const header = Buffer.alloc(32);
  header.write("DKIF");
  header.writeUInt16LE(32, 6);
  header.write("VP80", 8);
  [[width, 12], [height, 14]].forEach(([value, at]) => header.writeUInt16LE(value, at));
  [[FPS, 16], [1, 20], [frames.length, 24]].forEach(([value, at]) => header.writeUInt32LE(value, at));
  const parts = frames.flatMap((frame, at) => {
    const head = Buffer.alloc(12);
    head.writeUInt32LE(frame.length);
    head.writeBigUInt64LE(BigInt(at), 4);
    return [head, Buffer.from(frame)];
  });
  return Buffer.concat([header, ...parts]);
}

/** CRC-32 of RFC 3533. */
function checksum(bytes) {
  let sum = 0;
  for (const byte of bytes) {
    sum ^= byte << 24;
    for (let bit = 0; bit < 8; bit++) sum = sum & 0x80000000 ? (sum << 1) ^ 0x04c11db7 : sum << 1;
  }
  return sum >>> 0;
}

/** A page of Ogg with these packets, each below 255 bytes. */
function oggPage(number, flags, position, packets) {
  const head = Buffer.alloc(27);
  head.write("OggS");
  head[5] = flags;
  head.writeBigUInt64LE(BigInt(position), 6);
  head.writeUInt32LE(1, 14);
  head.writeUInt32LE(number, 18);
  head[26] = packets.length;
  const page = Buffer.concat([head, Buffer.from(packets.map((packet) => packet.length)), ...packets]);
  page.writeUInt32LE(checksum(page), 22);
  return page;
}

function ogg(packets) {
  const head = Buffer.concat([Buffer.from("OpusHead"), Buffer.from([1, 1, 0, 0, 0x80, 0xbb, 0, 0, 0, 0, 0])]);
  const tags = Buffer.concat([Buffer.from("OpusTags"), Buffer.from([4, 0, 0, 0]), Buffer.from("stoa"), Buffer.alloc(4)]);
  const sound = packets.map((packet) => Buffer.from(packet));
  return Buffer.concat([oggPage(0, 2, 0, [head]), oggPage(1, 0, 0, [tags]), oggPage(2, 4, packets.length * 960, sound)]);
}

const server = createServer((_, response) => response.end("<!doctype html>")).listen(0, "127.0.0.1");
const chromium = await startChromium();
try {
  const page = await chromium.page();
  // Encoders are for secure places only, and this machine itself is one.
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  for (const size of SIZES) {
    const frames = await page.evaluate(encodeVideo, { ...size, fps: FPS, seconds: SECONDS });
    writeFileSync(join(folder, `clip-${size.height}.ivf`), ivf(size, frames));
  }
  writeFileSync(join(folder, "voice.ogg"), ogg(await page.evaluate(encodeAudio, { seconds: SECONDS })));
} finally {
  await chromium.stop();
  server.close();
}
