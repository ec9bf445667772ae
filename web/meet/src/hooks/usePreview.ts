import { useEffect, useRef, useState } from "react";
import { openDevice, type Tracks } from "../lib/capture";

export interface Preview<T> {
  /** The open device's track, once there is one. */
  track: T | undefined;
  /** Why it could not be opened. */
  error: unknown;
  /** Tries again after an error. */
  retry: () => void;
  /** Gives the track away, also one that is still being opened: from here on whoever takes it stops it. */
  take: () => Promise<T | undefined>;
}

/** Holds one device open while `on`, re-opens it when another one is chosen, and closes it when the page is left. */
export function usePreview<D extends keyof Tracks>(device: D, on: boolean, deviceId: string): Preview<Tracks[D]> {
  const [track, setTrack] = useState<Tracks[D]>();
  const [error, setError] = useState<unknown>();
  const [attempt, setAttempt] = useState(0);
  const opened = useRef<Promise<Tracks[D] | undefined>>(Promise.resolve(undefined));
  const taken = useRef(false);
  const retry = () => setAttempt((count) => count + 1);

  useEffect(() => {
    if (!on) return;
    let current = true;
    const opening = openDevice(device, deviceId);
    opened.current = opening.catch(() => undefined);
    opening.then(
      (ready) => current && setTrack(() => ready),
      (reason: unknown) => current && setError(reason),
    );
    return () => {
      current = false;
      setTrack(undefined);
      setError(undefined);
      if (taken.current) return;
      void opened.current.then((ready) => ready?.stop());
      opened.current = Promise.resolve(undefined);
    };
  }, [device, on, deviceId, attempt]);

  // A device that was just plugged in may be the missing one.
  useEffect(() => {
    if (!error) return;
    navigator.mediaDevices?.addEventListener("devicechange", retry);
    return () => navigator.mediaDevices?.removeEventListener("devicechange", retry);
  }, [error]);

  const take = () => {
    taken.current = true;
    return opened.current;
  };
  return { track, error, retry, take };
}
