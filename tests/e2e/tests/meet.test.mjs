// The meeting page through its own buttons, as people use it.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startChromium } from "../lib/browsers.mjs";
import { ARTEFACTS, SUITE } from "../lib/paths.mjs";
import { startServer } from "../lib/server.mjs";
import { freshRoom } from "../lib/stage.mjs";
import { PATIENCE_MS, until } from "../lib/until.mjs";
import { startWire } from "../lib/wire.mjs";
import { writeTone } from "../lib/wav.mjs";

const TONE = 440;
const DESKTOP = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const FACES = {
  Ada: { skin: "#e0ac86", hair: "#3a2a1f", shirt: "#35607a", wall: ["#c9b79c", "#8d7b68"] },
  Bob: { skin: "#8d5a3c", hair: "#16120f", shirt: "#b0563f", wall: ["#9fb8ad", "#5d7a70"] },
  Cleo: { skin: "#f0c8a8", hair: "#a4572b", shirt: "#5c4b8a", wall: ["#b7b4cc", "#7a7796"], silent: true },
};

let server;
let browser;
const room = process.env.STOA_URL ? freshRoom("team-sync") : "team-sync";
let [ada, bob, cleo] = [];

before(async () => {
  server = await startServer("meet");
  const tone = await writeTone(join(ARTEFACTS, "tone.wav"), TONE);
  browser = await startChromium({ args: [`--use-file-for-fake-audio-capture=${tone}`, "--use-fake-device-for-media-stream=device-count=2"] });
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

/** Opens the page at `path`; `face` draws a person instead of the browser's test picture. */
async function open(path, { face, device = DESKTOP, address = server.url } = {}) {
  const page = await browser.page(device);
  page.setDefaultTimeout(PATIENCE_MS);
  if (face) await page.addInitScript((portrait) => { window.portrait = portrait; }, face);
  if (face) await page.addInitScript({ path: join(SUITE, "harness", "portrait.js") });
  await page.goto(address + path);
  return page;
}

async function enter(name, options) {
  const page = await open(`/r/${room}`, { face: FACES[name], ...options });
  await page.getByLabel("Your name").fill(name);
  await pictureMoves(page.getByLabel("Your camera"));
  await page.getByRole("button", { name: "Join meeting" }).click();
  await page.getByRole("navigation", { name: "Call controls" }).waitFor();
  return page;
}

/** The tile of a person, by the name on it. */
function tile(page, name) {
  return page.locator(".tile").filter({ has: page.locator(".tile-name", { hasText: name }) });
}

async function pictureMoves(video) {
  const at = () => video.evaluate((element) => (element.videoWidth > 0 ? element.getVideoPlaybackQuality().totalVideoFrames : 0));
  const first = await until("a picture", at);
  await until("the picture to move", at, (frames) => frames > first + 3);
}

async function shot(page, name) {
  await page.screenshot({ path: join(ARTEFACTS, `${name}.png`) });
}

test("meeting page: the front door leads to a room", async () => {
  const page = await open("/");
  await shot(page, "front-desktop");
  await page.getByLabel("Room name or link").fill("Design Review");
  await page.getByRole("button", { name: "Join" }).click();
  await page.waitForURL("**/r/design-review");
  await page.goBack();
  await page.getByRole("button", { name: "New meeting" }).click();
  await page.waitForURL(/\/r\/[a-z]+-[a-z]+-[a-z2-9]{5}$/);
  await page.getByRole("heading", { name: "Ready to join?" }).waitFor();
  await page.leave();
});

test("meeting page: two people see and hear each other", async () => {
  const lobby = await open(`/r/${room}`, { face: FACES.Ada });
  await pictureMoves(lobby.getByLabel("Your camera"));
  await shot(lobby, "lobby-desktop");
  await lobby.leave();
  ada = await enter("Ada");
  bob = await enter("Bob");
  for (const [page, other] of [[ada, "Bob"], [bob, "Ada"]]) {
    await pictureMoves(tile(page, other).locator("video"));
    await page.addScriptTag({ path: join(SUITE, "harness", "media.js") });
    const tone = () => page.evaluate(() => toneOf(document.querySelector("audio").srcObject.getAudioTracks()[0]));
    await until(`${other}'s tone`, tone, ({ hz, amplitude }) => Math.abs(hz - TONE) <= 8 && amplitude > 0.005);
  }
});

test("meeting page: chat, with a mark for what is unread", async () => {
  await ada.getByRole("button", { name: /^Chat/ }).click();
  await ada.getByRole("textbox", { name: "Message" }).fill("Shall we start? https://example.org/agenda");
  await ada.getByRole("button", { name: "Send message" }).click();
  await bob.getByRole("button", { name: "Chat, 1 unread" }).click();
  await bob.getByRole("log").getByText("Shall we start?").waitFor();
  assert.equal(await bob.getByRole("link", { name: "https://example.org/agenda" }).getAttribute("rel"), "noopener noreferrer");
  await bob.getByRole("textbox", { name: "Message" }).fill("Yes, I am here.");
  await bob.getByRole("textbox", { name: "Message" }).press("Enter");
  await ada.getByRole("log").getByText("Yes, I am here.").waitFor();
  await bob.getByRole("button", { name: "Close chat" }).click();
  assert.equal(await bob.getByRole("button", { name: "Chat", exact: true }).count(), 1, "what was read still counts as unread");
});

test("meeting page: a third person appears on a desktop and on a phone", async () => {
  cleo = await enter("Cleo", { device: PHONE });
  for (const other of ["Ada", "Bob"]) await pictureMoves(tile(cleo, other).locator("video"));
  await pictureMoves(tile(ada, "Cleo").locator("video"));
  await until("the arrival notices to be gone", () => ada.locator(".notices p").count(), (count) => count === 0);
  await shot(ada, "meet-desktop");
  await shot(cleo, "meet-phone");
});

test("meeting page: who is muted shows on their picture and in the list", async () => {
  await bob.getByRole("button", { name: "Turn off microphone" }).click();
  await tile(ada, "Bob").getByRole("img", { name: "Microphone off" }).waitFor();
  await ada.getByRole("button", { name: /^People/ }).click();
  const row = ada.getByRole("listitem").filter({ hasText: "Bob" });
  await row.getByRole("img", { name: "Microphone off" }).waitFor();
  await row.getByRole("img", { name: "Camera on" }).waitFor();
  await bob.getByRole("button", { name: "Turn off camera" }).click();
  await row.getByRole("img", { name: "Camera off" }).waitFor();
  await tile(ada, "Bob").locator(".avatar").waitFor();
  await shot(ada, "people-desktop");
  await bob.getByRole("button", { name: "Turn on microphone" }).click();
  await bob.getByRole("button", { name: "Turn on camera" }).click();
  await tile(ada, "Bob").getByRole("img", { name: "Microphone off" }).waitFor({ state: "detached" });
  await pictureMoves(tile(ada, "Bob").locator("video"));
  await ada.getByRole("button", { name: "Close people (3)" }).click();
});

test("meeting page: a shared screen takes the stage", async () => {
  await bob.getByRole("button", { name: "Share your screen" }).click();
  const screen = ada.locator(".stage.focus > .tile").filter({ hasText: "Bob: screen" });
  await screen.locator("video").waitFor();
  await until("the screen's picture", () => screen.locator("video").evaluate((video) => video.videoWidth));
  await shot(ada, "screen-desktop");
  await bob.getByRole("button", { name: "Stop sharing your screen" }).click();
  await screen.waitFor({ state: "detached" });
});

test("meeting page: speaker view, pinning, and back to the grid", async () => {
  await ada.getByRole("button", { name: "Switch to speaker view" }).click();
  await tile(ada, "Cleo").hover();
  await ada.getByRole("button", { name: "Show Cleo large" }).click();
  await ada.locator(".stage.focus > .tile").filter({ hasText: "Cleo" }).waitFor();
  await shot(ada, "speaker-desktop");
  await cleo.getByRole("button", { name: "Switch to speaker view" }).click();
  await cleo.locator(".stage.focus").waitFor();
  await shot(cleo, "speaker-phone");
  await ada.getByRole("button", { name: "Switch to grid view" }).click();
  await ada.locator(".stage > .grid").waitFor();
});

test("meeting page: devices can be changed in mid-call", async () => {
  await ada.getByRole("button", { name: "Choose: camera" }).click();
  const menu = ada.getByRole("group", { name: "Camera" }).first();
  const other = menu.getByRole("radio", { checked: false });
  const label = await other.evaluate((radio) => radio.parentElement.textContent);
  await shot(ada, "devices-desktop");
  await other.click();
  await menu.getByRole("radio", { name: label, checked: true }).waitFor();
  await ada.keyboard.press("Escape");
  await menu.waitFor({ state: "detached" });
  await pictureMoves(tile(bob, "Ada").locator("video"));
});

test("meeting page: chat covers the call on a phone, and closes", async () => {
  await cleo.getByRole("button", { name: /^Chat/ }).click();
  await cleo.getByRole("textbox", { name: "Message" }).fill("Hello from the train");
  await cleo.getByRole("button", { name: "Send message" }).click();
  await ada.getByRole("button", { name: /^Chat/ }).click();
  await ada.getByRole("log").getByText("Hello from the train").waitFor();
  await ada.getByRole("button", { name: "Turn off microphone" }).click();
  await tile(cleo, "Ada").getByRole("img", { name: "Microphone off" }).waitFor();
  await ada.mouse.move(640, 20);
  await ada.locator('.tile[data-lk-local-participant="true"][data-lk-speaking="false"]').waitFor();
  await shot(ada, "chat-desktop");
  await shot(cleo, "chat-phone");
  await cleo.getByRole("button", { name: "Close chat" }).click();
});

test("meeting page: a lost connection is announced, and comes back by itself", async () => {
  const wire = await startWire(server);
  const page = await enter("Cleo", { address: wire.url });
  await pictureMoves(tile(page, "Ada").locator("video"));
  wire.cut();
  const banner = page.getByRole("status").getByText("Reconnecting");
  await banner.waitFor();
  await shot(page, "reconnecting-desktop");
  wire.mend();
  await banner.waitFor({ state: "detached" });
  await pictureMoves(tile(page, "Ada").locator("video"));
  await pictureMoves(tile(ada, "Cleo").last().locator("video"));
  await page.leave();
  await wire.stop();
});

test("meeting page: who leaves disappears, and can rejoin with the same name", async () => {
  await bob.getByRole("button", { name: "Leave meeting" }).click();
  await bob.getByRole("heading", { name: "You left the meeting" }).waitFor();
  await tile(ada, "Bob").waitFor({ state: "detached" });
  await bob.getByRole("button", { name: "Rejoin" }).click();
  assert.equal(await bob.getByLabel("Your name").inputValue(), "Bob");
  await bob.getByRole("button", { name: "Join meeting" }).click();
  await pictureMoves(tile(ada, "Bob").locator("video"));
});

test("meeting page: a person who is removed reads why", async () => {
  const people = await server.api.listParticipants(room);
  await server.api.removeParticipant(room, people.find(({ name }) => name === "Bob").identity);
  await bob.getByText("You were removed from the room").waitFor();
});

test("meeting page: a blocked camera is explained, and one can join without", async () => {
  const page = await browser.page(PHONE);
  await page.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("Permission denied", "NotAllowedError"));
  });
  await page.goto(`${server.url}/r/${room}`);
  await page.getByRole("alert").getByText("Camera and microphone access is blocked").waitFor();
  await shot(page, "blocked-phone");
  await page.getByLabel("Your name").fill("Dora");
  await page.getByRole("button", { name: "Join meeting" }).click();
  await pictureMoves(tile(page, "Ada").locator("video"));
  await tile(ada, "Dora").locator(".avatar").waitFor();
  await page.leave();
});

test("meeting page: a server that cannot be reached is explained", async () => {
  const page = await open(`/r/${room}`, { device: PHONE });
  await page.route("**/api/token", (route) => route.abort());
  await page.getByLabel("Your name").fill("Eve");
  await page.getByRole("button", { name: "Join meeting" }).click();
  await page.getByRole("alert").getByText("The server cannot be reached").waitFor();
  await shot(page, "unreachable-phone");
  await page.unroute("**/api/token");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("button", { name: "Join meeting" }).click();
  await tile(page, "Ada").waitFor();
  await page.leave();
});

test("meeting page: nothing was thrown in any page", () => {
  for (const page of [ada, bob, cleo]) assert.deepEqual(page.troubles.filter((trouble) => trouble.startsWith("thrown")), []);
});
