import { useEffect, useSyncExternalStore } from "react";
import type { Channel } from "stoa-messaging";
import { Panel } from "../parts/Panel";
import { Thread } from "./Conversation";
import { peerOf } from "./roster";
import type { Session } from "./session";

/** The conversation of a call, beside it. */
export function ThreadPanel({ session, channel, onClose }: { session: Session; channel: Channel; onClose: () => void }) {
  return (
    <Panel title="Chat" onClose={onClose}>
      <Thread session={session} channel={channel} group={peerOf(channel.id, session.user) === undefined} />
    </Panel>
  );
}

/** What is unread of a call's conversation. */
export function useThreadUnread(channel: Channel | undefined): number {
  useEffect(() => void channel?.open(), [channel]);
  return useSyncExternalStore(
    (changed) => channel?.on("change", changed) ?? (() => {}),
    () => channel?.unread ?? 0,
  );
}
