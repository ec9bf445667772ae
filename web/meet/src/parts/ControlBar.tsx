import { useLocalParticipant, useParticipants, useRoomContext } from "@livekit/components-react";
import { useState } from "react";
import { saveChoices } from "../lib/choices";
import { deviceProblem, screenProblem, type Problem } from "../lib/problems";
import { DeviceMenu } from "./DeviceMenu";
import { Icon } from "./Icon";
import { MediaToggle } from "./MediaToggle";

export type PanelName = "chat" | "people";

interface Props {
  panel: PanelName | undefined;
  onPanel: (panel: PanelName) => void;
  unread: number;
  onProblem: (problem: Problem) => void;
}

/** What one can do in a call. */
export function ControlBar({ panel, onPanel, unread, onProblem }: Props) {
  const room = useRoomContext();
  const people = useParticipants().length;
  return (
    <nav className="control-bar" aria-label="Call controls">
      <div className="control-group">
        <DeviceControls onProblem={onProblem} />
        <ScreenShareButton onProblem={onProblem} />
      </div>
      <div className="control-group">
        <PanelButton label="Chat" icon="chat" open={panel === "chat"} onClick={() => onPanel("chat")} badge={unread} badgeLabel={`${unread} unread`} />
        <PanelButton label="People" icon="people" open={panel === "people"} onClick={() => onPanel("people")} badge={people} badgeLabel={`${people} here`} quiet />
      </div>
      <button type="button" className="control leave" aria-label="Leave meeting" title="Leave meeting" onClick={() => void room.disconnect()}>
        <Icon name="leave" />
        <span>Leave</span>
      </button>
    </nav>
  );
}

/** Microphone and camera, each with the menu of its devices. */
function DeviceControls({ onProblem }: { onProblem: (problem: Problem) => void }) {
  const { localParticipant, isMicrophoneEnabled, isCameraEnabled } = useLocalParticipant();
  const [busy, setBusy] = useState<"microphone" | "camera">();
  const toggle = async (device: "microphone" | "camera", on: boolean) => {
    setBusy(device);
    try {
      await (device === "camera" ? localParticipant.setCameraEnabled(on) : localParticipant.setMicrophoneEnabled(on));
      saveChoices({ [device]: on });
    } catch (error) {
      onProblem(deviceProblem(error, device));
    } finally {
      setBusy(undefined);
    }
  };
  return (
    <>
      <div className="split">
        <MediaToggle device="microphone" on={isMicrophoneEnabled} busy={busy === "microphone"} onToggle={() => void toggle("microphone", !isMicrophoneEnabled)} />
        <DeviceMenu label="Microphone and speaker" kinds={["audioinput", "audiooutput"]} onProblem={onProblem} />
      </div>
      <div className="split">
        <MediaToggle device="camera" on={isCameraEnabled} busy={busy === "camera"} onToggle={() => void toggle("camera", !isCameraEnabled)} />
        <DeviceMenu label="Camera" kinds={["videoinput"]} onProblem={onProblem} />
      </div>
    </>
  );
}

/** Absent where the browser cannot record a screen, as on phones. */
function ScreenShareButton({ onProblem }: { onProblem: (problem: Problem) => void }) {
  const { localParticipant, isScreenShareEnabled } = useLocalParticipant();
  if (!navigator.mediaDevices?.getDisplayMedia) return null;
  const label = isScreenShareEnabled ? "Stop sharing your screen" : "Share your screen";
  const toggle = async () => {
    try {
      await localParticipant.setScreenShareEnabled(!isScreenShareEnabled, { audio: true, selfBrowserSurface: "include" });
    } catch (error) {
      const problem = screenProblem(error);
      if (problem) onProblem(problem);
    }
  };
  return (
    <button type="button" className={isScreenShareEnabled ? "control active" : "control"} aria-label={label} title={label} aria-pressed={isScreenShareEnabled} onClick={() => void toggle()}>
      <Icon name="screen" />
    </button>
  );
}

interface PanelButtonProps {
  label: string;
  icon: PanelName;
  open: boolean;
  onClick: () => void;
  badge: number;
  badgeLabel: string;
  quiet?: boolean;
}

function PanelButton({ label, icon, open, onClick, badge, badgeLabel, quiet }: PanelButtonProps) {
  return (
    <button type="button" className={open ? "control active" : "control"} aria-label={badge > 0 ? `${label}, ${badgeLabel}` : label} title={label} aria-expanded={open} onClick={onClick}>
      <Icon name={icon} />
      {badge > 0 && <span className={quiet ? "badge quiet" : "badge"}>{badge > 99 ? "99+" : badge}</span>}
    </button>
  );
}
