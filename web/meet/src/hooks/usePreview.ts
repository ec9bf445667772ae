import { useEffect, useRef, useState } from "react";
import { openDevice, type Tracks } from "../lib/capture";

export interface Preview<T> {
  /** The open device's track, once there is one. */
  track: T | undefined;
  /** Why it could not be opened. */
  error: unknown;
  /** Tries again after an error. */
  retry: () => void;
  /** Gives the track away: from here on whoever takes it stops it. */
  take: () => T | undefined;
}

/** Holds one device open while `on`, re-opens it when another one is chosen, and closes it when the page is left. */
export function usePreview<D extends keyof Tracks>(device: D, on: boolean, deviceId: string): Preview<Tracks[D]> {
  const [track, setTrack] = useState<Tracks[D]>();
  const [error, setError] = useState<unknown>();
  const [attempt, setAttempt] = useState(0);
  const taken = useRef(false);
  const retry = () => setAttempt((count) => count + 1);

  useEffect(() => {
    if (!on) return;
    let current = true;
    const opening = openDevice(device, deviceId);
    opening.then(
      (opened) => current && setTrack(() => opened),
      (reason: unknown) => current && setError(reason),
    );
    return () => {
      current = false;
      setTrack(undefined);
      setError(undefined);
      if (!taken.current) opening.then((opened) => opened.stop(), () => undefined);
    };
  }, [device, on, deviceId, attempt]);

  // A device that was just plugged in may be the missing one.
  useEffect(() => {
    if (!error) return;
    navigator.mediaDevices?.addEventListener("devicechange", retry);
    return () => navigator.mediaDevices?.removeEventListener("devicechange", retry);
  }, [error]);

  const take = () => {
    if (track) taken.current = true;
    return track;
  };
  return { track, error, retry, take };
}
