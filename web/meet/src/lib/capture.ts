// Opening the camera and the microphone.

import { createLocalTracks, LocalAudioTrack, LocalVideoTrack, VideoPresets } from "livekit-client";
import { InsecureContextError } from "./problems";

/** What is open, or is to be opened, by device. */
export interface Tracks {
  microphone: LocalAudioTrack;
  camera: LocalVideoTrack;
}

type Device = keyof Tracks;

interface Request {
  deviceId: string;
  resolve: (track: never) => void;
  reject: (error: unknown) => void;
}

let waiting: Partial<Record<Device, Request>> = {};

/**
 * Opens one device; an empty id means the system's default, and an id that is gone falls back to it.
 * Requests for both devices that are made in the same turn become one question to the person, where two would be a nuisance.
 */
export function openDevice<D extends Device>(device: D, deviceId: string): Promise<Tracks[D]> {
  if (!navigator.mediaDevices?.getUserMedia) return Promise.reject(new InsecureContextError());
  return new Promise((resolve, reject) => {
    if (Object.keys(waiting).length === 0) queueMicrotask(() => void openWaiting());
    waiting[device] = { deviceId, resolve, reject };
  });
}

async function openWaiting(): Promise<void> {
  const { microphone, camera } = waiting;
  waiting = {};
  if (microphone && camera) {
    const both = await open(microphone, camera).catch(() => undefined);
    if (both) return settle(both, microphone, camera);
  }
  // Together they fail when either fails: ask again one by one, to have what can be had.
  for (const [one, other] of [[microphone, undefined], [undefined, camera]] as const) {
    const request = one ?? other;
    if (request) await open(one, other).then((tracks) => settle(tracks, one, other), request.reject);
  }
}

function open(microphone?: Request, camera?: Request) {
  return createLocalTracks({
    audio: microphone ? { deviceId: microphone.deviceId || undefined } : false,
    video: camera ? { deviceId: camera.deviceId || undefined, resolution: VideoPresets.h720.resolution } : false,
  });
}

function settle(tracks: Awaited<ReturnType<typeof open>>, microphone?: Request, camera?: Request): void {
  for (const track of tracks) {
    const request = track.kind === "audio" ? microphone : camera;
    request?.resolve(track as never);
  }
}
