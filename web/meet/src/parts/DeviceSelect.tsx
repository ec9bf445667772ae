import { useDevices } from "../hooks/useDevices";
import { Icon, type IconName } from "./Icon";

interface Props {
  kind: MediaDeviceKind;
  label: string;
  icon: IconName;
  /** The chosen device's id; empty means the system's default. */
  value: string;
  onChange: (deviceId: string) => void;
  /** Changes when the browser may know more devices or names than before, as after permission was given. */
  refresh?: unknown;
}

/** A labelled list of the devices of one kind. Hidden where the browser leaves no choice. */
export function DeviceSelect({ kind, label, icon, value, onChange, refresh }: Props) {
  const devices = useDevices(kind, refresh);
  if (devices.length === 0) return null;
  const chosen = devices.some((device) => device.deviceId === value) ? value : (devices[0]?.deviceId ?? "");
  return (
    <label className="device-select">
      <Icon name={icon} size={18} />
      <span className="visually-hidden">{label}</span>
      <select value={chosen} onChange={(event) => onChange(event.target.value)}>
        {devices.map((device, index) => (
          <option key={device.deviceId} value={device.deviceId}>
            {device.label || `${label} ${index + 1}`}
          </option>
        ))}
      </select>
    </label>
  );
}
