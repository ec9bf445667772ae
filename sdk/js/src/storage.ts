/** Where a client keeps what outlives it: its device id, cursors, sends without an answer. Small texts by key. */
export interface Storage {
  /** Everything that was saved; asked once, when the client starts. */
  load(): Record<string, string> | Promise<Record<string, string>>;
  /** `undefined` removes the key. What it throws is told as the event `problem`. */
  save(key: string, value: string | undefined): void;
}

/** Keeps it as long as the object lives: for several clients one after the other, and for tests. */
export function memoryStorage(): Storage {
  const all = new Map<string, string>();
  return {
    load: () => Object.fromEntries(all),
    save: (key, value) => void (value === undefined ? all.delete(key) : all.set(key, value)),
  };
}

/** The part of the Web Storage API that is used. */
export interface WebStorage {
  readonly length: number;
  key(index: number): string | null;
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/**
 * In `sessionStorage`, where a tab is a device: it lives as long as the tab, over reloads; or in `localStorage`, where one window at a
 * time uses it: a second one with the same device closes the first (`replaced`).
 */
export function webStorage(storage: WebStorage, prefix = "stoa:"): Storage {
  return {
    load() {
      const all: Record<string, string> = {};
      for (let index = 0; index < storage.length; index++) {
        const key = storage.key(index);
        const value = key?.startsWith(prefix) ? storage.getItem(key) : null;
        if (key && value !== null) all[key.slice(prefix.length)] = value;
      }
      return all;
    },
    save(key, value) {
      if (value === undefined) storage.removeItem(prefix + key);
      else storage.setItem(prefix + key, value);
    },
  };
}
