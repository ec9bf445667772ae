import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname, "..");

test("the package that npm would publish has what it needs, nothing else, and can be imported and type-checked", () => {
  const folder = mkdtempSync(join(tmpdir(), "stoa-package-"));
  try {
    const pack = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
    const answer = JSON.parse(execFileSync("npm", pack, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
    // An array up to npm 11, by name since.
    const [{ filename, files }] = Object.values(answer);
    const paths = files.map(({ path }) => path);
    assert.ok(["package.json", "README.md", "dist/index.js", "dist/index.d.ts"].every((path) => paths.includes(path)), `${paths}`);
    assert.deepEqual(paths.filter((path) => !/^(package\.json|README\.md|LICENSE|dist\/[\w.]+\.(js|d\.ts))$/.test(path)), []);
    const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    assert.equal(manifest.dependencies, undefined, "no runtime dependency");

    const place = join(folder, "node_modules", manifest.name);
    mkdirSync(place, { recursive: true });
    execFileSync("tar", ["-xzf", join(folder, filename.replace(/^@/, "").replace("/", "-")), "--strip-components=1", "-C", place]);
    writeFileSync(join(folder, "package.json"), '{"type":"module"}');
    writeFileSync(join(folder, "use.mjs"), `import { Client, webStorage } from "${manifest.name}"; console.log(typeof Client.start, typeof webStorage);`);
    assert.equal(execFileSync(process.execPath, ["use.mjs"], { cwd: folder, encoding: "utf8" }), "function function\n");
    writeFileSync(join(folder, "use.ts"), TYPES.replace("PACKAGE", manifest.name));
    const check = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--types", "", "use.ts"];
    execFileSync(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), ...check], { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

// What an application writes; a line that must not compile says so.
const TYPES = `
import { Client, type Item, type Message, type Outcome } from "PACKAGE";
const client = await Client.start({ url: "wss://host", token: async () => "t" });
const channel = client.channel("c").open();
channel.on("item", (item: Item) => item.id.length);
const outcome: Outcome = await channel.send({ text: "hi" }, { mentions: ["bob"], after: true }).done;
if (outcome.is === "accepted") outcome.event.length;
const list: readonly Message[] = channel.messages;
const { members } = await client.request("members", { channel: "c" });
members.map(({ user, role }) => user + role + list.length);
// @ts-expect-error: there is no such command
await client.request("mumbers", { channel: "c" });
// @ts-expect-error: it needs a channel
await client.request("members", {});
// @ts-expect-error: there is no such event
channel.on("items", () => {});
`;
