// What went wrong, in words for the person in front of the screen: what happened, and what to do about it.

import { ConnectionError, ConnectionErrorReason, DisconnectReason } from "livekit-client";

/** A problem that is shown to a person. */
export interface Problem {
  /** What happened, one short sentence. */
  title: string;
  /** What the person can do. */
  advice: string;
}

export type Device = "camera" | "microphone";

/** Why devices could not be opened. The errors are what `getUserMedia` rejected with; two of one kind make one problem. */
export function deviceProblems(errors: Partial<Record<Device, unknown>>): Problem[] {
  const { camera, microphone } = errors;
  if (camera && microphone && nameOf(camera) === nameOf(microphone)) return [problemOf(camera, "camera and microphone")];
  return (["camera", "microphone"] as const).filter((device) => errors[device]).map((device) => problemOf(errors[device], device));
}

/** Why one device could not be opened. */
export function deviceProblem(error: unknown, device: Device): Problem {
  return problemOf(error, device);
}

function problemOf(error: unknown, what: Device | "camera and microphone"): Problem {
  const What = what.charAt(0).toUpperCase() + what.slice(1);
  const it = what === "camera and microphone" ? "them" : "it";
  switch (nameOf(error)) {
    case "NotAllowedError":
    case "PermissionDeniedError":
    case "SecurityError":
      return {
        title: `${What} access is blocked`,
        advice: `Allow ${it} for this page (the icon beside the address), and in your system's privacy settings. You can join without ${it}.`,
      };
    case "NotFoundError":
    case "DevicesNotFoundError":
      return {
        title: `No ${what} found`,
        advice: `Plug in or switch on what is missing; it appears here by itself. You can join without ${it}.`,
      };
    case "NotReadableError":
    case "TrackStartError":
    case "AbortError":
      return {
        title: `${What} in use`,
        advice: `Another program or tab is probably using ${it}. Close that one, or choose another device.`,
      };
    case "OverconstrainedError":
    case "ConstraintNotSatisfiedError":
      return { title: `The chosen ${what} is gone`, advice: "Choose another one in the list." };
    case "InsecureContextError":
      return {
        title: `${What} only at a secure address`,
        advice: "Browsers give access only on https:// pages and on localhost. Open this page by its https address.",
      };
    default:
      return { title: `${What} did not start`, advice: `Choose another device, or reload the page. (${messageOf(error)})` };
  }
}

/** Why screen sharing did not start; `undefined` when the person only closed the picker. */
export function screenProblem(error: unknown): Problem | undefined {
  if (nameOf(error) === "NotAllowedError" && !/system|denied by user agent/i.test(messageOf(error))) return undefined;
  return {
    title: "Screen sharing did not start",
    advice: "Check that your system lets the browser record the screen, then try again.",
  };
}

/** The page was opened where browsers offer no devices at all (plain http on another machine's address). */
export class InsecureContextError extends Error {
  override name = "InsecureContextError";
}

/** The token endpoint answered with a refusal. */
export class TokenRefused extends Error {
  override name = "TokenRefused";
  constructor(
    readonly status: number,
    readonly reason: string,
  ) {
    super(reason || `HTTP ${status}`);
  }
}

/** Why the room could not be entered. */
export function joinProblem(error: unknown): Problem {
  if (error instanceof TokenRefused) return refusalProblem(error);
  if (error instanceof ConnectionError) return connectionProblem(error);
  if (error instanceof TypeError) return unreachable();
  return {
    title: "Could not enter the room",
    advice: `Try again in a moment. (${messageOf(error)})`,
  };
}

function refusalProblem(refused: TokenRefused): Problem {
  if (refused.status === 404) {
    return {
      title: "This server does not let visitors in by itself",
      advice: "Its built-in entrance is off, as it should be in production. Use the link of the application that runs your meetings.",
    };
  }
  // What a proxy says when there is no server behind it.
  if (refused.status === 502 || refused.status === 504) return unreachable();
  if (refused.status === 429 || refused.status >= 500) {
    return { title: "The server is busy", advice: "Wait a moment and try again." };
  }
  return {
    title: "The server did not let you in",
    advice: refused.reason || "Check the room name and your name, then try again.",
  };
}

function connectionProblem(error: ConnectionError): Problem {
  switch (error.reason) {
    case ConnectionErrorReason.NotAllowed:
      return {
        title: "The server did not let you in",
        advice: "Your invitation may have run out. Reload the page, or ask for a new link.",
      };
    case ConnectionErrorReason.ServerUnreachable:
    case ConnectionErrorReason.Timeout:
    case ConnectionErrorReason.WebSocket:
      return unreachable();
    case ConnectionErrorReason.InternalError:
      return {
        title: "Sound and picture cannot get through",
        advice: "The server answers, but your network seems to block calls (UDP). Try another network, or switch off the VPN.",
      };
    default:
      return { title: "Could not enter the room", advice: `Try again in a moment. (${error.message})` };
  }
}

function unreachable(): Problem {
  return {
    title: "The server cannot be reached",
    advice: "Check your internet connection and try again. If others cannot get in either, the server may be down.",
  };
}

/** What to tell someone whose call has ended; `undefined` when that person left by choice. */
export function endingProblem(reason: DisconnectReason | undefined): Problem | undefined {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return undefined;
    case DisconnectReason.DUPLICATE_IDENTITY:
      return { title: "You joined from somewhere else", advice: "This room is open in another tab or window. Rejoin to continue here." };
    case DisconnectReason.PARTICIPANT_REMOVED:
      return { title: "You were removed from the room", advice: "Ask whoever runs the meeting before you rejoin." };
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return { title: "The meeting was ended for everyone", advice: "Rejoin to start it again." };
    case DisconnectReason.SERVER_SHUTDOWN:
      return { title: "The server is restarting", advice: "Rejoin in a moment." };
    default:
      return { title: "The connection was lost", advice: "Check your network, then rejoin." };
  }
}

function nameOf(error: unknown): string {
  return error instanceof Error || error instanceof DOMException ? error.name : "";
}

function messageOf(error: unknown): string {
  return error instanceof Error || error instanceof DOMException ? error.message : String(error);
}
