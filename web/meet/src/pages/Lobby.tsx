import type { LocalAudioTrack, LocalVideoTrack } from "livekit-client";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { usePreview } from "../hooks/usePreview";
import { loadChoices, saveChoices, type Choices } from "../lib/choices";
import { deviceProblems } from "../lib/problems";
import { Avatar } from "../parts/Avatar";
import { DeviceSelect } from "../parts/DeviceSelect";
import { InviteButton } from "../parts/InviteButton";
import { LevelMeter } from "../parts/LevelMeter";
import { MediaToggle } from "../parts/MediaToggle";
import { ProblemCard } from "../parts/ProblemCard";
import { Wordmark } from "../parts/Wordmark";

/** What a person takes from the lobby into the room. The tracks are open or being opened; the room closes them. */
export interface Joining {
  name: string;
  microphone: Promise<LocalAudioTrack | undefined>;
  camera: Promise<LocalVideoTrack | undefined>;
  choices: Choices;
}

const MAX_NAME = 60;

/** Before the room: who one is, how one looks and sounds. */
export function Lobby({ room, onJoin }: { room: string; onJoin: (joining: Joining) => void }) {
  const [choices, setChoices] = useState(loadChoices);
  const change = (changed: Partial<Choices>) => {
    saveChoices(changed);
    setChoices((before) => ({ ...before, ...changed }));
  };
  const camera = usePreview("camera", choices.camera, choices.cameraId);
  const microphone = usePreview("microphone", choices.microphone, choices.microphoneId);
  const problems = deviceProblems({ camera: camera.error, microphone: microphone.error });

  const name = choices.name.trim();
  const join = (event: FormEvent) => {
    event.preventDefault();
    if (name) onJoin({ name, microphone: microphone.take(), camera: camera.take(), choices });
  };
  return (
    <main className="lobby">
      <header>
        <Wordmark />
        <InviteButton room={room} />
      </header>
      <section className="preview" aria-label="Preview">
        {camera.track ? <SelfView track={camera.track} /> : <NoPicture name={name} waiting={choices.camera && !camera.error} />}
        <div className="preview-controls">
          <MediaToggle device="microphone" on={choices.microphone && !microphone.error} onToggle={microphone.error ? microphone.retry : () => change({ microphone: !choices.microphone })} />
          <MediaToggle device="camera" on={choices.camera && !camera.error} onToggle={camera.error ? camera.retry : () => change({ camera: !choices.camera })} />
        </div>
        <LevelMeter track={microphone.track} />
      </section>
      <form className="entry" onSubmit={join}>
        <h1>
          Ready to join?
          <small>{room}</small>
        </h1>
        <label className="field">
          Your name
          <input value={choices.name} onChange={(event) => change({ name: event.target.value })} placeholder="How others see you" autoComplete="name" autoFocus required maxLength={MAX_NAME} enterKeyHint="go" />
        </label>
        <DeviceSelect kind="audioinput" label="Microphone" icon="microphone" value={choices.microphoneId} onChange={(microphoneId) => change({ microphoneId })} refresh={microphone.track} />
        <DeviceSelect kind="videoinput" label="Camera" icon="camera" value={choices.cameraId} onChange={(cameraId) => change({ cameraId })} refresh={camera.track} />
        {problems.map((problem) => (
          <ProblemCard key={problem.title} problem={problem} />
        ))}
        <button type="submit" className="button primary large" disabled={!name}>
          Join meeting
        </button>
      </form>
    </main>
  );
}

/** One's own picture, mirrored as in a mirror. */
function SelfView({ track }: { track: LocalVideoTrack }) {
  const element = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const video = element.current;
    if (!video) return;
    track.attach(video);
    return () => void track.detach(video);
  }, [track]);
  return <video ref={element} className="mirrored" autoPlay playsInline muted aria-label="Your camera" />;
}

function NoPicture({ name, waiting }: { name: string; waiting: boolean }) {
  return (
    <div className="no-picture">
      <Avatar name={name} identity={name} />
      <p>{waiting ? "Starting camera…" : "Your camera is off"}</p>
    </div>
  );
}
