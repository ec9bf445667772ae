// Records what a real Chromium publisher sends, for `cargo xtask bench forward`: when each packet of its camera left, how
// large its payload was, and where frames ended. Needs root and tcpdump.
//
//   node tests/e2e/tools/record-publisher.mjs > crates/bench/recordings/chromium-720p-vp8.csv

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openStage } from "../lib/stage.mjs";

const [WIDTH, HEIGHT, FPS, FRAMES] = [1280, 720, 30, 60];
const BITRATE = 2_000_000;
const SETTLE_MS = 12_000;
const RECORD_MS = 10_000;
// What lies on a packet after its payload: the tag of AEAD_AES_GCM.
const TAG = 16;

/** A picture with texture, motion and some noise, so that the encoder has as much to do as with a person in a room. */
function writeVideo(path) {
  const frames = [Buffer.from(`YUV4MPEG2 W${WIDTH} H${HEIGHT} F${FPS}:1 Ip A1:1 C420jpeg\n`)];
  for (let t = 0; t < FRAMES; t++) {
    const luma = Buffer.alloc(WIDTH * HEIGHT);
    const swing = Math.sin((2 * Math.PI * t) / FRAMES) * 60;
    for (let y = 0, at = 0; y < HEIGHT; y++)
      for (let x = 0; x < WIDTH; x++, at++)
        luma[at] = 128 + 50 * Math.sin((x + swing) / 17) * Math.cos(y / 23) + ((x * 7 + y * 13 + t * 29) % 11) + Math.random() * 6;
    frames.push(Buffer.from("FRAME\n"), luma, Buffer.alloc((WIDTH * HEIGHT) / 2, 128));
  }
  writeFileSync(path, Buffer.concat(frames));
}

/** RTP packets in a capture of Ethernet frames: time in microseconds, SSRC, marker, payload length. */
function rtpPackets(capture, ports) {
  const packets = [];
  for (let at = 24; at + 16 <= capture.length; ) {
    const [seconds, micros, kept] = [0, 4, 8].map((offset) => capture.readUInt32LE(at + offset));
    const frame = capture.subarray(at + 16, at + 16 + kept);
    at += 16 + kept;
    const ipv6 = frame.readUInt16BE(12) === 0x86dd;
    const udp = frame.subarray(14 + (ipv6 ? 40 : (frame[14] & 15) * 4));
    const rtp = udp.subarray(8, udp.readUInt16BE(4));
    const isRtp = rtp[0] >> 6 === 2 && !(rtp[1] >= 192 && rtp[1] <= 223);
    if (!ports.includes(udp.readUInt16BE(2)) || !isRtp) continue;
    let header = 12 + 4 * (rtp[0] & 15);
    if (rtp[0] & 16) header += 4 + 4 * rtp.readUInt16BE(header + 2);
    packets.push({ at: seconds * 1e6 + micros, ssrc: rtp.readUInt32BE(8), marker: rtp[1] >> 7, payload: rtp.length - header - TAG });
  }
  return packets;
}

/** The packets of the stream that carries most bytes. */
function largestStream(packets) {
  const bytes = new Map();
  for (const packet of packets) bytes.set(packet.ssrc, (bytes.get(packet.ssrc) ?? 0) + packet.payload);
  const [ssrc] = [...bytes].sort((a, b) => b[1] - a[1])[0];
  return packets.filter((packet) => packet.ssrc === ssrc);
}

const folder = mkdtempSync(join(tmpdir(), "stoa-record-"));
const video = join(folder, "camera.y4m");
const pcap = join(folder, "capture.pcap");
writeVideo(video);
const stage = await openStage("record", { chromiumArgs: [`--use-file-for-fake-video-capture=${video}`] });
try {
  const ada = await stage.person(stage.chromium, "ada");
  await ada.join("recording");
  await ada.do("publishCamera", { width: WIDTH, height: HEIGHT, fps: FPS, bitrate: BITRATE });
  await sleep(SETTLE_MS);
  const filter = `udp and (${stage.server.udpPorts.map((port) => `dst port ${port}`).join(" or ")})`;
  const tcpdump = spawn("tcpdump", ["-i", "lo", "-U", "-w", pcap, filter], { stdio: ["ignore", "ignore", "inherit"] });
  await sleep(RECORD_MS);
  tcpdump.kill("SIGINT");
  await new Promise((resolve) => tcpdump.once("exit", resolve));
  const packets = largestStream(rtpPackets(readFileSync(pcap), stage.server.udpPorts));
  const from = packets.findIndex(({ marker }) => marker) + 1;
  const to = packets.findLastIndex(({ marker }) => marker) + 1;
  const whole = packets.slice(from, to);
  console.log(`# Chromium, ${WIDTH}x${HEIGHT} at ${FPS}/s, VP8, at most ${BITRATE / 1e6} Mbit/s: microseconds, payload bytes, marker`);
  for (const { at, payload, marker } of whole) console.log(`${at - whole[0].at},${payload},${marker}`);
} finally {
  await stage.close();
  rmSync(folder, { recursive: true });
}
