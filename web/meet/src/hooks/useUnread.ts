import type { ReceivedChatMessage } from "@livekit/components-react";
import { useState } from "react";

/** How many messages of others came since the chat was last open. */
export function useUnread(messages: readonly ReceivedChatMessage[], open: boolean): number {
  const [seen, setSeen] = useState(0);
  if (open && seen !== messages.length) setSeen(messages.length);
  return open ? 0 : messages.slice(seen).filter((message) => !message.from?.isLocal).length;
}
