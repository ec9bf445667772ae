import { Client, MessagingError, webStorage } from "stoa-messaging";
import { requestEntry } from "../lib/token";

/** Who is signed in on this tab, kept over a reload. A tab is a device of theirs. */
const KEY = "stoa.me";
/** The development server's tokens name a room; this one is never entered. */
const NO_ROOM = "messages";

export interface Session {
  user: string;
  client: Client;
}

let current: Session | undefined;
let starting: Promise<Session> | undefined;
const listeners = new Set<() => void>();

/** "  Ada  Lovelace" is `ada lovelace`: whoever types the same name is the same person. */
export function userFrom(name: string): string {
  return name.normalize("NFKC").trim().replace(/\s+/g, " ").toLowerCase().slice(0, 60);
}

/** How a person is shown: `ada lovelace` as "Ada Lovelace". */
export function shownName(user: string): string {
  return user.replace(/(^|[\s-])(\p{L})/gu, (_, before: string, letter: string) => before + letter.toLocaleUpperCase());
}

export function session(): Session | undefined {
  return current;
}

export function onSession(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** Signs in by name; the client goes on connecting by itself. */
export function signIn(name: string): Promise<Session> {
  const user = userFrom(name);
  if (current?.user === user) return Promise.resolve(current);
  starting ??= start(user).finally(() => (starting = undefined));
  return starting;
}

async function start(user: string): Promise<Session> {
  const token = async () => (await requestEntry(NO_ROOM, shownName(user), user)).token;
  const client = await Client.start({ url: location.origin, token, storage: webStorage(sessionStorage) });
  await client.ready().catch((error: unknown) => {
    throw error instanceof MessagingError ? new Error(error.message) : error;
  });
  current = { user, client };
  sessionStorage.setItem(KEY, user);
  for (const listener of listeners) listener();
  return current;
}

/** Who was signed in before the reload. */
export function remembered(): string | undefined {
  return sessionStorage.getItem(KEY) ?? undefined;
}

export function signOut(): void {
  current?.client.close();
  current = undefined;
  sessionStorage.clear();
  for (const listener of listeners) listener();
}
