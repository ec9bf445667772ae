import { TokenRefused } from "./problems";

/** Where to connect, and the proof that one may. */
export interface Entry {
  url: string;
  token: string;
}

/**
 * Asks the server to let `identity` into `room`.
 * Throws `TokenRefused` when the server says no, `TypeError` when it cannot be reached.
 */
export async function requestEntry(room: string, name: string, identity: string, signal?: AbortSignal): Promise<Entry> {
  const response = await fetch("/api/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ room, name, identity }),
    signal,
  });
  if (!response.ok) throw new TokenRefused(response.status, await refusalText(response));
  const entry = (await response.json()) as Partial<Entry>;
  if (typeof entry.token !== "string") throw new TokenRefused(502, "The server sent no token.");
  return { token: entry.token, url: entry.url || location.origin.replace(/^http/, "ws") };
}

/** The server's own sentence, when it sent one that is fit for a person. */
async function refusalText(response: Response): Promise<string> {
  const body = (await response.text()).trim();
  try {
    const { error, message } = JSON.parse(body) as { error?: unknown; message?: unknown };
    return [message, error].find((text) => typeof text === "string") ?? "";
  } catch {
    return body.length <= 200 && !body.startsWith("<") ? body : "";
  }
}
