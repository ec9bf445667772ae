import { useEffect, useRef, useState } from "react";
import { openDevice, type Tracks } from "../lib/capture";
import { deviceProblem, type Problem } from "../lib/problems";

export interface Preview<T> {
  /** The open device's track, once there is one. */
  track: T | undefined;
  problem: Problem | undefined;
  /** Tries again after a problem. */
  retry: () => void;
  /** Gives the track away: from here on whoever takes it stops it. */
  take: () => T | undefined;
}

/** Holds one device open while `on`, re-opens it when another one is chosen, and closes it when the page is left. */
export function usePreview<D extends keyof Tracks>(device: D, on: boolean, deviceId: string): Preview<Tracks[D]> {
  const [track, setTrack] = useState<Tracks[D]>();
  const [problem, setProblem] = useState<Problem>();
  const [attempt, setAttempt] = useState(0);
  const taken = useRef(false);
  const retry = () => setAttempt((count) => count + 1);

  useEffect(() => {
    if (!on) return;
    let current = true;
    const opening = openDevice(device, deviceId);
    opening.then(
      (opened) => current && setTrack(() => opened),
      (error: unknown) => current && setProblem(deviceProblem(error, device)),
    );
    return () => {
      current = false;
      setTrack(undefined);
      setProblem(undefined);
      if (!taken.current) opening.then((opened) => opened.stop(), () => undefined);
    };
  }, [device, on, deviceId, attempt]);

  // A device that was just plugged in may be the missing one.
  useEffect(() => {
    if (!problem) return;
    navigator.mediaDevices?.addEventListener("devicechange", retry);
    return () => navigator.mediaDevices?.removeEventListener("devicechange", retry);
  }, [problem]);

  const take = () => {
    if (track) taken.current = true;
    return track;
  };
  return { track, problem, retry, take };
}
