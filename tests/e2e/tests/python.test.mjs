// The native Python SDK and a browser in one room.

import { after, before, test } from "node:test";
import { LOOKS } from "../lib/person.mjs";
import { preparePython, startPython } from "../lib/python.mjs";
import { freshRoom, openStage } from "../lib/stage.mjs";

const PYTHON = { identity: "pia", look: LOOKS.pia };
const near = (value, wanted, tolerance) => Math.abs(value - wanted) <= tolerance;

let stage;
let [ada, python] = [];

before(async () => {
  await preparePython();
  stage = await openStage("python");
  ada = await stage.person(stage.chromium, "ada");
  const room = freshRoom("python");
  await ada.join(room);
  await ada.publish();
  const token = await stage.server.token(room, PYTHON.identity);
  python = startPython({ url: stage.server.socketUrl, token, tone: PYTHON.look.tone, colour: PYTHON.look.rgb });
});

after(async () => {
  await python?.stop();
  await stage?.close();
});

test("Python: the browser sees and hears the Python client", async () => {
  await ada.watches(PYTHON, { width: 320, height: 180 });
  await ada.hears(PYTHON);
});

test("Python: the Python client sees and hears the browser", async () => {
  await python.sees("ada's picture", ({ people }) => people?.ada?.frames > 20 && people.ada.width === 640 && people.ada.height === 360);
  await python.sees("ada's colour", ({ people }) => people.ada.colour.every((channel, index) => near(channel, ada.look.rgb[index], 45)));
  await python.sees("ada's tone", ({ people }) => near(people.ada.hz, ada.look.tone, 12));
});

test("Python: data goes both ways", async () => {
  python.say("hello from Python");
  await ada.receives({ text: "hello from Python", from: "pia", topic: "python" });
  await ada.do("send", { text: "hello from the browser", reliable: true, topic: "web" });
  await python.sees("ada's message", ({ messages }) => messages.some(({ text, from }) => text === "hello from the browser" && from === "ada"));
});

test("Python: the browser's mute is told and heard", async () => {
  await ada.do("setMuted", { source: "microphone", muted: true });
  await python.sees("ada muted", ({ people }) => people.ada.muted.includes("audio"));
  await python.sees("silence", ({ people }) => people.ada.hz === 0);
  await ada.do("setMuted", { source: "microphone", muted: false });
  await python.sees("ada's tone again", ({ people }) => near(people.ada.hz, ada.look.tone, 12));
});

test("Python: each sees the other leave", async () => {
  await python.stop();
  await ada.notices({ kind: "left", who: "pia" });
});
