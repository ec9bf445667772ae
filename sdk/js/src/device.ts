import type { Platform } from "./platform.js";
import type { Name } from "./protocol.js";

/** A device that was not used for so long is replaced: the server forgets its numbers after 30 days. Milliseconds: 21 days. */
export const REPLACED = 21 * 24 * 3_600_000;
/** How often its use is noted. Milliseconds. */
const NOTED = 3_600_000;

interface Saved {
  id: Name;
  user: Name;
  used: number;
}

/** The random id of this installation, and whose it is. */
export class Device {
  id: Name;
  user: Name = "";
  #used: number;

  constructor(
    private readonly platform: Platform,
    private readonly write: (key: string, value: string) => void,
  ) {
    this.id = platform.id();
    this.#used = platform.now();
  }

  /** Takes the one that was stored. True: it is a new one. */
  load(text: string | undefined): boolean {
    const saved = parsed(text);
    if (saved) [this.id, this.user, this.#used] = [saved.id, saved.user, saved.used];
    else this.#save();
    return !saved || this.renew();
  }

  /** Becomes a new one where it was not used for too long. True: it is. */
  renew(): boolean {
    const age = this.platform.now() - this.#used;
    // A clock that was set back says nothing about age.
    if (age > REPLACED) this.mint(this.user);
    else if (age > NOTED || age < 0) this.#save();
    return age > REPLACED;
  }

  /** A new one. */
  mint(user: Name): void {
    [this.id, this.user] = [this.platform.id(), user];
    this.#save();
  }

  /** Is it this person's? It is whose it was first. */
  belongsTo(user: Name): boolean {
    if (this.user === "") {
      this.user = user;
      this.#save();
    }
    return this.user === user;
  }

  #save(): void {
    this.#used = this.platform.now();
    const saved: Saved = { id: this.id, user: this.user, used: this.#used };
    this.write("device", JSON.stringify(saved));
  }
}

function parsed(text: string | undefined): Saved | undefined {
  try {
    const saved = JSON.parse(text ?? "") as Saved;
    return typeof saved.id === "string" && saved.id && typeof saved.user === "string" && Number.isFinite(saved.used) ? saved : undefined;
  } catch {
    return undefined;
  }
}
