// docs/guide as a new user follows it: its programs and its page, as they are in the repository.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cp, mkdtemp, rm, symlink } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { startChromium } from "../lib/browsers.mjs";
import { REPOSITORY, STOA, SUITE } from "../lib/paths.mjs";
import { preparePython } from "../lib/python.mjs";
import { freeTcpPort, startServer } from "../lib/server.mjs";
import { until } from "../lib/until.mjs";

const GUIDE = join(REPOSITORY, "docs", "guide");
const ROOM = "lobby";

let server, chromium, folder, port;
const programs = [];

before(async () => {
  await preparePython();
  server = await startServer("guide");
  chromium = await startChromium();
  folder = await mkdtemp(join(tmpdir(), "stoa-guide-"));
  await cp(join(GUIDE, "app"), folder, { recursive: true });
  // What `npm install` would bring.
  await symlink(join(SUITE, "node_modules"), join(folder, "node_modules"));
  port = await freeTcpPort();
  const back = start("node", ["server.mjs"], { cwd: folder, env: { ...process.env, PORT: String(port), STOA_URL: server.socketUrl } });
  await until("the guide's back end to listen", () => back.said().includes("open http://localhost"));
});

after(async () => {
  for (const { child } of programs) child.kill("SIGKILL");
  await chromium?.stop();
  await server?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
});

function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => { text = (text + chunk).slice(-20_000); });
  const ended = new Promise((resolve) => child.once("close", resolve).once("error", (error) => { text += error.message; resolve(-1); }));
  const program = { child, ended, said: () => text };
  programs.push(program);
  return program;
}

async function open(name) {
  const page = await chromium.page();
  await page.goto(`http://localhost:${port}`);
  await page.fill("input[name=name]", name);
  await page.click("button");
  return page;
}

test("guide: two people who open the page see and hear each other", async () => {
  const [ann, ben] = [await open("ann"), await open("ben")];
  for (const page of [ann, ben]) {
    const playing = () => page.evaluate(() => ({
      state: document.getElementById("state").textContent,
      videos: [...document.querySelectorAll("video")].filter((video) => video.videoWidth > 0 && video.currentTime > 1).length,
      sounds: [...document.querySelectorAll("audio")].filter((audio) => audio.currentTime > 1).length,
    }));
    await until("both pictures and the other's sound", playing, ({ videos, sounds }) => videos === 2 && sounds === 1);
  }
  await ben.goto("about:blank");
  await until("ben's picture to go", () => ann.evaluate(() => document.querySelectorAll("video").length), (count) => count === 1);
  await ann.leave();
});

test("guide: the back end says what it needs", async () => {
  const answer = await fetch(`http://localhost:${port}/token?name=ann`);
  assert.equal(answer.status, 400);
});

const TOKENS = {
  Python: ["python3", [join(GUIDE, "tokens", "token.py")]],
  Go: ["go", ["run", join(GUIDE, "tokens", "token.go")]],
  Rust: [join(dirname(STOA), "examples", "token"), []],
};

for (const [language, [command, args]] of Object.entries(TOKENS)) {
  test(`guide: a token made with ${language} lets its bearer in, and nowhere else`, async (t) => {
    if (language === "Go" && !(await has("go"))) return t.skip("go is not installed");
    if (language === "Rust") assert.ok(existsSync(command), `${command} is missing: cargo build -p stoa --example token`);
    const program = start(command, [...args, "ann", ROOM]);
    assert.equal(await program.ended, 0, program.said());
    const token = program.said().trim();
    const answer = await fetch(`${server.url}/rtc/validate?access_token=${token}`);
    assert.deepEqual([answer.status, await answer.text()], [200, "success"]);
    const room = await fetch(`${server.url}/twirp/livekit.RoomService/ListRooms`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: "{}",
    });
    assert.equal(room.status, 401, "it may join, not administer");
  });
}

async function has(command) {
  return (await start(command, ["version"]).ended) === 0;
}

test("guide: the program without a browser sees who is in the page", async () => {
  const ann = await open("ann");
  const watcher = start(join(SUITE, ".venv", "bin", "python"), [join(GUIDE, "native", "watch.py"), server.socketUrl, await server.token(ROOM, "watcher")]);
  await until("the program to count pictures", watcher.said, (said) => /ann: \d+ pictures, \d+ x \d+/.test(said));
  await ann.leave();
});
