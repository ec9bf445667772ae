import { useParticipantInfo } from "@livekit/components-react";
import type { Participant } from "livekit-client";

/** A person's name as the page shows it, kept up to date. */
export function useDisplayName(participant: Participant): string {
  const { name, identity } = useParticipantInfo({ participant });
  const shown = name || identity || "Guest";
  return participant.isLocal ? `${shown} (you)` : shown;
}
