// Messages on the meeting page, as two people use them, one of them on two devices.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startChromium } from "../lib/browsers.mjs";
import { ARTEFACTS } from "../lib/paths.mjs";
import { startServer } from "../lib/server.mjs";
import { PATIENCE_MS, until } from "../lib/until.mjs";

const DESKTOP = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

let server;
let browser;
let [ann, bob, phone] = [];

before(async () => {
  server = await startServer("chat");
  browser = await startChromium();
});

after(async () => {
  await browser?.stop();
  await server?.stop();
});

async function signIn(name, device) {
  const page = await browser.page(device);
  page.setDefaultTimeout(PATIENCE_MS);
  await page.goto(`${server.url}/chat`);
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("navigation", { name: "Conversations" }).waitFor();
  return page;
}

async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.keyboard.press("Enter");
}

function bubble(page, text) {
  return page.locator("li.message").filter({ hasText: text }).last();
}

async function shot(page, name) {
  await page.screenshot({ path: join(ARTEFACTS, `${name}.png`) });
}

test("chat: a message to somebody by name arrives on all their devices, with presence and unread count", async () => {
  ann = await signIn("Ann", DESKTOP);
  bob = await signIn("Bob", DESKTOP);
  phone = await signIn("bob", PHONE);
  await shot(phone, "chat-phone-empty");
  await ann.getByLabel("Write to").fill("Bob");
  await ann.keyboard.press("Enter");
  await say(ann, "Hello Bob, have a look at https://example.org");
  for (const page of [bob, phone]) await page.getByRole("button", { name: /Ann, online, 1 unread/ }).waitFor();
  await ann.locator(".conversation-title").filter({ hasText: "online" }).waitFor();
});

test("chat: receipts, typing, a reply and a reaction", async () => {
  await bob.getByRole("button", { name: /^Ann/ }).click();
  await bubble(bob, "Hello Bob").waitFor();
  await ann.getByLabel("Read", { exact: true }).waitFor();
  await bob.getByLabel("Message", { exact: true }).pressSequentially("Nice", { delay: 50 });
  await ann.locator(".conversation-title").filter({ hasText: "Bob is typing" }).waitFor();
  await shot(ann, "chat-desktop-typing");
  await bubble(bob, "Hello Bob").getByRole("button", { name: /^Actions/ }).click();
  await bob.getByRole("button", { name: "Reply" }).click();
  await say(bob, "Nice, I will");
  await bubble(ann, "Nice, I will").locator("blockquote").filter({ hasText: "Hello Bob" }).waitFor();
  await bubble(ann, "Nice, I will").getByRole("button", { name: /^Actions/ }).click();
  await ann.getByRole("button", { name: "React with 👍" }).click();
  await bubble(bob, "Nice, I will").getByRole("button", { name: "👍 1" }).waitFor();
});

test("chat: a reload in the middle of a chat, and a message that is edited and one that is deleted", async () => {
  await say(ann, "before the reload");
  await say(ann, "a slip");
  await bubble(bob, "a slip").waitFor();
  await ann.reload();
  await bubble(ann, "Hello Bob").waitFor();
  await bubble(ann, "before the reload").waitFor();
  await bubble(ann, "before the reload").getByRole("button", { name: /^Actions/ }).click();
  await ann.getByRole("button", { name: "Edit" }).click();
  await say(ann, "after the reload");
  await bubble(bob, "after the reload").filter({ hasText: "edited" }).waitFor();
  await bubble(ann, "a slip").getByRole("button", { name: /^Actions/ }).click();
  await ann.getByRole("button", { name: "Delete" }).click();
  await bubble(bob, "Deleted").waitFor();
  assert.equal(await bob.locator("li.message").count(), 4);
  await shot(bob, "chat-desktop");
  await phone.getByRole("button", { name: /^Ann/ }).click();
  await bubble(phone, "after the reload").waitFor();
  await shot(phone, "chat-phone");
  const width = await phone.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 390, `nothing is wider than the phone: ${width}`);
});

test("chat: a group of three", async () => {
  await ann.getByLabel("Write to").fill("Bob, Cleo");
  await ann.keyboard.press("Enter");
  await say(ann, "Hello both");
  const cleo = await signIn("Cleo", DESKTOP);
  await cleo.getByRole("button", { name: /^Bob, Cleo/ }).click();
  await bubble(cleo, "Hello both").waitFor();
  await say(cleo, "Hello Ann");
  await bubble(ann, "Hello Ann").filter({ hasText: "Cleo" }).waitFor();
  await cleo.leave();
  await ann.getByRole("button", { name: /^Bob, (online|away)/ }).click();
});

test("chat: a call rings on both devices, stops on the one when the other answers, and its chat is there after a reload", async () => {
  await ann.getByRole("button", { name: "Call", exact: true }).click();
  await ann.getByRole("navigation", { name: "Call controls" }).waitFor();
  for (const page of [bob, phone]) await page.getByRole("alertdialog", { name: "Ann is calling" }).waitFor();
  await shot(bob, "chat-ringing-desktop");
  await shot(phone, "chat-ringing-phone");
  await phone.getByRole("button", { name: "Accept" }).click();
  await phone.getByRole("navigation", { name: "Call controls" }).waitFor();
  await until("the other device to stop ringing", () => bob.getByRole("alertdialog").count(), (count) => count === 0);
  await ann.locator(".tile").filter({ hasText: "Bob" }).first().waitFor();
  await say(ann, "during the call");
  await bubble(bob, "during the call").waitFor();
  await shot(ann, "chat-call-desktop");
  await ann.reload();
  await ann.getByRole("button", { name: "Join meeting" }).click();
  await bubble(ann, "during the call").waitFor();
  await phone.getByRole("button", { name: /^Chat/ }).first().click();
  await bubble(phone, "during the call").waitFor();
  await shot(phone, "chat-call-phone");
  for (const page of [ann, bob, phone]) assert.deepEqual(page.troubles.filter((trouble) => !/status of 4\d\d/.test(trouble)), []);
});
