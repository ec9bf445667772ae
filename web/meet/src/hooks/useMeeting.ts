import { ConnectionState, RoomEvent, Track, type DisconnectReason, type Room } from "livekit-client";
import { useEffect, useState } from "react";
import { tabIdentity } from "../lib/choices";
import { endingProblem, joinProblem, type Problem } from "../lib/problems";
import { requestEntry } from "../lib/token";
import type { Joining } from "../pages/Lobby";

/** Where the call is. */
export type Phase = { step: "joining" } | { step: "in" } | { step: "failed"; problem: Problem } | { step: "ended"; problem: Problem | undefined };

/** Enters the room once, publishes what was open in the lobby, and tells how it goes until the call is over. */
export function useMeeting(room: Room, roomName: string, joining: Joining): Phase {
  const [phase, setPhase] = useState<Phase>({ step: "joining" });
  useEffect(() => {
    let entered = false;
    const aborted = new AbortController();
    const ended = (reason?: DisconnectReason) => {
      if (entered && !aborted.signal.aborted) setPhase({ step: "ended", problem: endingProblem(reason) });
    };
    room.on(RoomEvent.Disconnected, ended);
    enter(room, roomName, joining, aborted.signal).then(
      () => {
        entered = true;
        if (!aborted.signal.aborted) setPhase({ step: "in" });
      },
      (error: unknown) => {
        stopTracks(joining);
        if (!aborted.signal.aborted) setPhase({ step: "failed", problem: joinProblem(error) });
      },
    );
    return () => {
      aborted.abort();
      room.off(RoomEvent.Disconnected, ended);
      void room.disconnect();
      stopTracks(joining);
    };
  }, [room, roomName, joining]);
  return phase;
}

async function enter(room: Room, roomName: string, joining: Joining, signal: AbortSignal): Promise<void> {
  const entry = await requestEntry(roomName, joining.name, tabIdentity(), signal);
  signal.throwIfAborted();
  await room.connect(entry.url, entry.token);
  if (signal.aborted) return void room.disconnect();
  if (joining.choices.speakerId) void room.switchActiveDevice("audiooutput", joining.choices.speakerId).catch(() => undefined);
  // Not awaited: one sees and hears the others at once, and one's own picture follows.
  void publish(room, joining.microphone, Track.Source.Microphone);
  void publish(room, joining.camera, Track.Source.Camera);
}

/** A track that cannot be published leaves the person in the room: better seen without picture than not at all. */
async function publish(room: Room, opening: Joining["microphone"] | Joining["camera"], source: Track.Source): Promise<void> {
  const track = await opening;
  if (!track) return;
  // Permission may have come late, and the person may have used the switch meanwhile.
  if (room.localParticipant.getTrackPublication(source)) return track.stop();
  try {
    await room.localParticipant.publishTrack(track, { source });
  } catch (error) {
    track.stop();
    if (room.state === ConnectionState.Connected) room.emit(RoomEvent.MediaDevicesError, error as Error);
  }
}

function stopTracks({ microphone, camera }: Joining): void {
  for (const opening of [microphone, camera]) void opening.then((track) => track?.stop());
}
