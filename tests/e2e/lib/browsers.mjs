// Headless browsers with a make-believe camera and microphone, and with sound that really flows.

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import puppeteer from "puppeteer-core";

const CHROMIUM = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
const FIREFOX = process.env.FIREFOX_BIN ?? "/usr/bin/firefox-esr";

/** What is missing on this machine for the suite to run, as sentences. */
export function missingBrowsers() {
  const wanted = [[CHROMIUM, "chromium"], [FIREFOX, "firefox-esr"]];
  return wanted.filter(([path]) => !existsSync(path)).map(([path, name]) => `${path} is missing: apt-get install ${name}`);
}

const CHROMIUM_ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  // Pages that are not in front must go on drawing and sending.
  "--disable-background-timer-throttling",
  "--disable-renderer-backgrounding",
  "--disable-backgrounding-occluded-windows",
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
];

/** One Chromium process. Each `page()` is a person of its own: a fresh profile in a window of its own. */
export async function startChromium({ args = [] } = {}) {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    // Without sound output inbound audio is never decoded.
    ignoreDefaultArgs: ["--mute-audio"],
    args: [...CHROMIUM_ARGS, ...args],
  });
  return {
    name: "Chromium",
    async page(options = {}) {
      const context = await browser.newContext(options);
      const page = await context.newPage();
      return Object.assign(page, { troubles: troublesOf(page), leave: () => context.close() });
    },
    stop: () => browser.close(),
  };
}

const FIREFOX_PREFERENCES = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "media.peerconnection.ice.loopback": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "media.autoplay.default": 0,
  "media.autoplay.blocking_policy": 0,
  "media.gmp-manager.updateEnabled": false,
  "app.update.enabled": false,
  "app.normandy.enabled": false,
  "browser.safebrowsing.malware.enabled": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "dom.push.enabled": false,
  "dom.min_background_timeout_value": 4,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "services.settings.server": "http://127.0.0.1:1/",
  "toolkit.telemetry.enabled": false,
};

/** One Firefox process with one or more pages. `tone`, in hertz, is what its make-believe microphone hears. */
export async function startFirefox({ tone }) {
  const profile = await mkdtemp(join(tmpdir(), "stoa-firefox-"));
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: FIREFOX,
    headless: true,
    userDataDir: profile,
    extraPrefsFirefox: { ...FIREFOX_PREFERENCES, "media.navigator.audio.fake_frequency": tone },
    protocolTimeout: 120_000,
  });
  return {
    name: "Firefox",
    async page() {
      const page = await browser.newPage();
      return Object.assign(page, { troubles: troublesOf(page), leave: () => page.close() });
    },
    async stop() {
      await browser.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

/** Errors that a page throws or logs, for the message of a failing test. */
function troublesOf(page) {
  const troubles = [];
  page.on("pageerror", (error) => troubles.push(`thrown: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning" || message.type() === "warn") troubles.push(message.text().slice(0, 400));
  });
  return troubles;
}
