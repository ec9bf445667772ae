import { RoomAudioRenderer, RoomContext, StartAudio } from "@livekit/components-react";
import { Room, VideoPresets } from "livekit-client";
import { useState } from "react";
import { useMeeting } from "../hooks/useMeeting";
import { Call } from "../parts/Call";
import { ProblemCard } from "../parts/ProblemCard";
import { Wordmark } from "../parts/Wordmark";
import type { Joining } from "./Lobby";

interface Props {
  room: string;
  /** The conversation that the call belongs to. */
  channel: string | undefined;
  joining: Joining;
  /** Back to the lobby of this room. */
  onRejoin: () => void;
  /** Back to the front page. */
  onHome: () => void;
}

/** The room, from the moment of entering to the goodbye. */
export function Meeting({ room: name, channel, joining, onRejoin, onHome }: Props) {
  const [room] = useState(() => createRoom(joining));
  const phase = useMeeting(room, name, joining);
  switch (phase.step) {
    case "joining":
      return <Interlude title="Joining…" busy />;
    case "failed":
      return (
        <Interlude title="That did not work">
          <ProblemCard problem={phase.problem} />
          <Ways again="Try again" onRejoin={onRejoin} onHome={onHome} />
        </Interlude>
      );
    case "ended":
      return (
        <Interlude title={phase.problem ? "The call is over" : "You left the meeting"}>
          {phase.problem && <ProblemCard problem={phase.problem} />}
          <Ways again="Rejoin" onRejoin={onRejoin} onHome={onHome} back={channel ? "Back to the conversation" : undefined} />
        </Interlude>
      );
    case "in":
      return (
        <RoomContext.Provider value={room}>
          <Call name={name} channel={channel} />
          <RoomAudioRenderer />
          <StartAudio label="Click to hear the others" className="button primary start-audio" />
        </RoomContext.Provider>
      );
  }
}

function createRoom({ choices }: Joining): Room {
  return new Room({
    adaptiveStream: true,
    dynacast: true,
    audioCaptureDefaults: { deviceId: choices.microphoneId || undefined },
    videoCaptureDefaults: { deviceId: choices.cameraId || undefined, resolution: VideoPresets.h720.resolution },
  });
}

function Interlude({ title, busy, children }: { title: string; busy?: boolean; children?: React.ReactNode }) {
  return (
    <main className="interlude" aria-busy={busy}>
      <Wordmark />
      {busy && <span className="spinner" aria-hidden="true" />}
      <h1 role={busy ? "status" : undefined}>{title}</h1>
      {children}
    </main>
  );
}

function Ways({ again, onRejoin, onHome, back = "Back to the start" }: { again: string; onRejoin: () => void; onHome: () => void; back?: string }) {
  return (
    <div className="ways">
      <button type="button" className="button primary" onClick={onRejoin} autoFocus>
        {again}
      </button>
      <button type="button" className="button" onClick={onHome}>
        {back}
      </button>
    </div>
  );
}
