import { useEffect, useState, useSyncExternalStore } from "react";
import type { CallFrame, Channel, Client } from "stoa-messaging";
import { Roster } from "./roster";
import { onSession, session, type Session } from "./session";

export function useSession(): Session | undefined {
  return useSyncExternalStore(onSession, session);
}

/** Shows a channel anew whenever something of it changed. */
export function useChannel(channel: Channel): Channel {
  useSyncExternalStore(
    (changed) => channel.on("change", changed),
    () => channel.version,
  );
  return channel;
}

const rosters = new WeakMap<Client, Roster>();

/** One's conversations. */
export function useRoster({ client, user }: Session): Roster {
  let roster = rosters.get(client);
  if (!roster) rosters.set(client, (roster = new Roster(client, user)));
  const shown = roster;
  useSyncExternalStore(shown.subscribe, () => shown.version);
  return shown;
}

/** Shows anew when somebody who is watched came or went. */
export function usePresence(client: Client, users: readonly string[]): void {
  const [, setCount] = useState(0);
  const watched = users.join("\n");
  useEffect(() => client.presence.watch(watched ? watched.split("\n") : []), [client, watched]);
  useEffect(() => client.presence.on("change", () => setCount((count) => count + 1)), [client]);
}

/** The calls that ring on this device. */
export function useRinging(client: Client): CallFrame[] {
  const [ringing, setRinging] = useState(() => client.calls.ringing);
  useEffect(() => client.calls.on("change", () => setRinging(client.calls.ringing)), [client]);
  return ringing;
}

/** Whether there is a connection. */
export function useConnected(client: Client): boolean {
  return useSyncExternalStore(
    (changed) => client.on("state", changed),
    () => client.state === "connected",
  );
}
