import { ConnectionError, DisconnectReason } from "livekit-client";
import { describe, expect, test } from "vitest";
import { deviceProblem, deviceProblems, endingProblem, InsecureContextError, joinProblem, screenProblem, TokenRefused } from "../src/lib/problems";

const failure = (name: string, message = "") => Object.assign(new Error(message), { name });

describe("a device that does not open", () => {
  test.each([
    ["NotAllowedError", "Camera access is blocked"],
    ["NotFoundError", "No camera found"],
    ["NotReadableError", "Camera in use"],
    ["OverconstrainedError", "The chosen camera is gone"],
  ])("%s is told as: %s", (name, title) => expect(deviceProblem(failure(name), "camera").title).toBe(title));

  test("on an insecure page is told to use https", () =>
    expect(deviceProblem(new InsecureContextError(), "microphone").advice).toContain("https"));
  test("for an unknown reason shows that reason", () => expect(deviceProblem(failure("Odd", "lens cap"), "camera").advice).toContain("lens cap"));
});

describe("two devices that do not open", () => {
  test("for the same reason are one problem", () => {
    const problems = deviceProblems({ camera: failure("NotAllowedError"), microphone: failure("NotAllowedError") });
    expect(problems.map(({ title }) => title)).toEqual(["Camera and microphone access is blocked"]);
  });
  test("for different reasons are two", () => {
    const problems = deviceProblems({ camera: failure("NotFoundError"), microphone: failure("NotAllowedError") });
    expect(problems.map(({ title }) => title)).toEqual(["No camera found", "Microphone access is blocked"]);
  });
  test("are none when they open", () => expect(deviceProblems({})).toEqual([]));
});

describe("screen sharing", () => {
  test("that the person cancelled is no problem", () => expect(screenProblem(failure("NotAllowedError", "Permission denied"))).toBeUndefined());
  test("that the system forbids is one", () =>
    expect(screenProblem(failure("NotAllowedError", "Permission denied by system"))?.title).toBeDefined());
});

describe("a room that cannot be entered", () => {
  test("because the token endpoint is off", () => expect(joinProblem(new TokenRefused(404, "")).title).toContain("visitors"));
  test("because the server refused, in the server's words", () =>
    expect(joinProblem(new TokenRefused(400, "The name is too long.")).advice).toBe("The name is too long."));
  test("because a proxy finds no server", () => expect(joinProblem(new TokenRefused(502, "")).title).toContain("reached"));
  test("because the server is overloaded", () => expect(joinProblem(new TokenRefused(503, "")).title).toBe("The server is busy"));
  test("because the network is down", () => expect(joinProblem(new TypeError("Failed to fetch")).title).toContain("reached"));
  test("because signalling cannot be reached", () =>
    expect(joinProblem(ConnectionError.serverUnreachable("x")).title).toContain("reached"));
  test("because the token is not accepted", () => expect(joinProblem(ConnectionError.notAllowed("x", 401)).title).toContain("let you in"));
  test("because media is blocked", () => expect(joinProblem(ConnectionError.internal("could not establish pc connection")).advice).toContain("UDP"));
});

describe("a call that ended", () => {
  test("by the person's own choice is no problem", () => expect(endingProblem(DisconnectReason.CLIENT_INITIATED)).toBeUndefined());
  test("because the same person joined elsewhere", () => expect(endingProblem(DisconnectReason.DUPLICATE_IDENTITY)?.title).toContain("somewhere else"));
  test("for no stated reason is a lost connection", () => expect(endingProblem(undefined)?.title).toBe("The connection was lost"));
});
