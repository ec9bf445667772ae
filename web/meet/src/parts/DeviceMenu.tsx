import { useRoomContext } from "@livekit/components-react";
import { RoomEvent } from "livekit-client";
import { useEffect, useReducer, useRef, useState } from "react";
import { useDevices } from "../hooks/useDevices";
import { saveChoices, type Choices } from "../lib/choices";
import { deviceProblem, type Problem } from "../lib/problems";
import { Icon } from "./Icon";

type Kind = "audioinput" | "audiooutput" | "videoinput";

const TITLES: Record<Kind, string> = { audioinput: "Microphone", audiooutput: "Speaker", videoinput: "Camera" };
const REMEMBERED: Record<Kind, keyof Choices> = { audioinput: "microphoneId", audiooutput: "speakerId", videoinput: "cameraId" };

interface Props {
  label: string;
  kinds: Kind[];
  onProblem: (problem: Problem) => void;
}

/** The small arrow beside a switch, and the list of devices that it opens. */
export function DeviceMenu({ label, kinds, onProblem }: Props) {
  const [open, setOpen] = useState(false);
  const container = useRef<HTMLDivElement>(null);
  useClosing(open, container, () => setOpen(false));
  return (
    <div className="device-menu" ref={container}>
      <button type="button" className="menu-button" aria-label={`Choose: ${label.toLowerCase()}`} aria-expanded={open} onClick={() => setOpen(!open)}>
        <Icon name="chevron" size={14} />
      </button>
      {open && (
        <div className="menu" role="group" aria-label={label}>
          {kinds.map((kind) => (
            <DeviceList key={kind} kind={kind} onProblem={onProblem} />
          ))}
        </div>
      )}
    </div>
  );
}

/** Closes on Escape, and on a press or focus anywhere else. */
function useClosing(open: boolean, container: React.RefObject<HTMLElement | null>, close: () => void): void {
  useEffect(() => {
    if (!open) return;
    const outside = (event: Event) => {
      if (!container.current?.contains(event.target as Node)) close();
    };
    const escape = (event: KeyboardEvent) => {
      if (event.key === "Escape") close();
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    document.addEventListener("keydown", escape);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
      document.removeEventListener("keydown", escape);
    };
  });
}

function DeviceList({ kind, onProblem }: { kind: Kind; onProblem: (problem: Problem) => void }) {
  const room = useRoomContext();
  const devices = useDevices(kind);
  const [wanted, setWanted] = useState<string>();
  const inUse = useActiveDevice(kind);
  // Opening a device takes a moment; the list shows the choice at once, and the truth afterwards.
  const active = wanted ?? inUse;
  const choose = async (deviceId: string) => {
    setWanted(deviceId);
    try {
      await room.switchActiveDevice(kind, deviceId);
      saveChoices({ [REMEMBERED[kind]]: deviceId });
    } catch (error) {
      onProblem(deviceProblem(error, kind === "videoinput" ? "camera" : "microphone"));
    } finally {
      setWanted(undefined);
    }
  };
  if (devices.length === 0) return kind === "audiooutput" ? null : <p className="empty">No {TITLES[kind].toLowerCase()} found</p>;
  return (
    <fieldset>
      <legend>{TITLES[kind]}</legend>
      {devices.map((device, index) => (
        <label key={device.deviceId}>
          <input type="radio" name={kind} checked={device.deviceId === active || (index === 0 && !devices.some((other) => other.deviceId === active))} onChange={() => void choose(device.deviceId)} />
          <span>{device.label || `${TITLES[kind]} ${index + 1}`}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** The id of the device in use; re-read whenever the room changes it. */
function useActiveDevice(kind: Kind): string | undefined {
  const room = useRoomContext();
  const [, reread] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    room.on(RoomEvent.ActiveDeviceChanged, reread);
    return () => void room.off(RoomEvent.ActiveDeviceChanged, reread);
  }, [room]);
  return room.getActiveDevice(kind);
}
