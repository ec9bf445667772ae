// What a person chose last time, kept in this browser. Storage may be off or full: then nothing is remembered, and nothing breaks.

/** Name, devices and switches as the lobby shows them. */
export interface Choices {
  name: string;
  microphone: boolean;
  camera: boolean;
  microphoneId: string;
  cameraId: string;
  speakerId: string;
}

const KEY = "stoa.choices";
const IDENTITY_KEY = "stoa.identity";

export const DEFAULT_CHOICES: Choices = {
  name: "",
  microphone: true,
  camera: true,
  microphoneId: "",
  cameraId: "",
  speakerId: "",
};

/** The remembered choices; whatever is missing or of the wrong type is the default. */
export function parseChoices(stored: string | null): Choices {
  const found = asRecord(stored);
  const merged: Record<string, unknown> = { ...DEFAULT_CHOICES };
  for (const [key, standard] of Object.entries(DEFAULT_CHOICES)) {
    if (typeof found[key] === typeof standard) merged[key] = found[key];
  }
  return merged as unknown as Choices;
}

function asRecord(stored: string | null): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(stored ?? "{}");
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

export function loadChoices(): Choices {
  return parseChoices(attempt(() => localStorage.getItem(KEY)) ?? null);
}

export function saveChoices(changed: Partial<Choices>): void {
  attempt(() => localStorage.setItem(KEY, JSON.stringify({ ...loadChoices(), ...changed })));
}

/**
 * Who this tab is. Kept for the life of the tab: a reload takes the place of the call that it interrupted, while a second tab
 * is a second person.
 */
export function tabIdentity(): string {
  const known = attempt(() => sessionStorage.getItem(IDENTITY_KEY));
  if (known) return known;
  const identity = `web-${Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  attempt(() => sessionStorage.setItem(IDENTITY_KEY, identity));
  return identity;
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
