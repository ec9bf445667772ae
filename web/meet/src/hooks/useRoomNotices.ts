import { useRoomContext } from "@livekit/components-react";
import { RoomEvent, type Participant } from "livekit-client";
import { useEffect } from "react";
import { deviceProblem } from "../lib/problems";
import type { Notices } from "./useNotices";

/** Tells who comes and goes, and which device failed in mid-call. */
export function useRoomNotices({ say, complain }: Notices): void {
  const room = useRoomContext();
  useEffect(() => {
    const came = (who: Participant) => say(`${who.name || who.identity} joined`);
    const went = (who: Participant) => say(`${who.name || who.identity} left`);
    const failed = (error: Error, kind?: MediaDeviceKind) => complain(deviceProblem(error, kind === "videoinput" ? "camera" : "microphone"));
    room.on(RoomEvent.ParticipantConnected, came);
    room.on(RoomEvent.ParticipantDisconnected, went);
    room.on(RoomEvent.MediaDevicesError, failed);
    return () => {
      room.off(RoomEvent.ParticipantConnected, came);
      room.off(RoomEvent.ParticipantDisconnected, went);
      room.off(RoomEvent.MediaDevicesError, failed);
    };
  }, [room, say, complain]);
}
