import type { ErrorFrame } from "./protocol.js";

/** A request that was refused, by the server or by this client (`timeout`, `closed`, `lost`). */
export class MessagingError extends Error {
  override readonly name = "MessagingError";

  constructor(
    readonly code: ErrorFrame["code"] | "timeout" | "closed" | "lost",
    reason?: string,
    /** The same may not be asked again. */
    readonly final = true,
    /** Milliseconds after which it may. */
    readonly retryAfter?: number,
  ) {
    super(reason ? `${code}: ${reason}` : code);
  }

  static of(frame: ErrorFrame): MessagingError {
    return new MessagingError(frame.code, frame.reason, frame.final, frame.retry_after);
  }
}

/** Why a client ended for good. */
export type EndReason =
  /** The application closed it. */
  | "closed"
  /** A newer connection of this device: another tab, perhaps. */
  | "replaced"
  | "unauthorized"
  /** The token is too old, and there is no provider of a new one. */
  | "expired"
  /** The server could not read what this client sends. */
  | "bad_frame"
  /** It speaks another version. */
  | "version"
  | "too_many_errors"
  /** `connect` was refused for another reason. */
  | "refused";

const ENDS: Record<number, EndReason> = {
  4500: "replaced",
  4501: "unauthorized",
  4502: "bad_frame",
  4503: "version",
  4504: "too_many_errors",
};

/** What the code of a closed WebSocket means; `undefined`: connect again. */
export function endOf(code: number): EndReason | undefined {
  if (code < 4500 || code > 4999) return undefined;
  return ENDS[code] ?? "refused";
}
