import { useEffect, useState } from "react";

/**
 * The devices of one kind, kept up to date as they are plugged in and out. Before permission is given browsers list nameless
 * stand-ins or nothing; pass something that changes with the permission as `refresh`.
 */
export function useDevices(kind: MediaDeviceKind, refresh?: unknown): MediaDeviceInfo[] {
  const [devices, setDevices] = useState<MediaDeviceInfo[]>([]);
  useEffect(() => {
    const media = navigator.mediaDevices;
    if (!media?.enumerateDevices) return;
    let current = true;
    const list = () =>
      void media.enumerateDevices().then(
        (all) => current && setDevices(all.filter((device) => device.kind === kind && device.deviceId !== "")),
        () => undefined,
      );
    list();
    media.addEventListener("devicechange", list);
    return () => {
      current = false;
      media.removeEventListener("devicechange", list);
    };
  }, [kind, refresh]);
  return devices;
}
