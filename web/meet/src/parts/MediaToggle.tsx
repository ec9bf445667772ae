import { Icon, type IconName } from "./Icon";

const ICONS: Record<"microphone" | "camera", { on: IconName; off: IconName }> = {
  microphone: { on: "microphone", off: "microphoneOff" },
  camera: { on: "camera", off: "cameraOff" },
};

interface Props {
  device: "microphone" | "camera";
  on: boolean;
  busy?: boolean;
  onToggle: () => void;
}

/** The round switch of a microphone or camera. Its label says what pressing it does. */
export function MediaToggle({ device, on, busy, onToggle }: Props) {
  const label = `Turn ${on ? "off" : "on"} ${device}`;
  return (
    <button type="button" className={on ? "control" : "control off"} aria-label={label} title={label} aria-pressed={on} aria-busy={busy} onClick={onToggle} disabled={busy}>
      <Icon name={on ? ICONS[device].on : ICONS[device].off} />
    </button>
  );
}
