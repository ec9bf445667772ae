import { useSpeakingParticipants } from "@livekit/components-react";
import { useEffect, useState } from "react";

/** The identity of the other person who spoke last; it stays when everybody falls silent, so that the stage does not jump. */
export function useLastSpeaker(): string | undefined {
  const speaking = useSpeakingParticipants();
  const loudest = speaking.find((participant) => !participant.isLocal)?.identity;
  const [last, setLast] = useState<string>();
  useEffect(() => {
    if (loudest !== undefined) setLast(loudest);
  }, [loudest]);
  return last;
}
