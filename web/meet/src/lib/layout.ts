// Who is on stage.

import { Track } from "livekit-client";

/** As much of a track reference as the choice needs. */
export interface Candidate {
  participant: { identity: string; isLocal: boolean };
  source: Track.Source;
}

/** Names a tile: one person may have two, camera and screen. */
export function tileKey(tile: Candidate): string {
  return `${tile.participant.identity}/${tile.source}`;
}

/**
 * The tile that fills the stage in the speaker view: the pinned one, else somebody's shared screen, else who spoke last, else
 * the first other person, else oneself. `undefined` only when there is no tile.
 */
export function onStage<T extends Candidate>(tiles: readonly T[], pinned: string | undefined, lastSpeaker: string | undefined): T | undefined {
  const cameras = tiles.filter((tile) => tile.source === Track.Source.Camera);
  return (
    tiles.find((tile) => tileKey(tile) === pinned) ??
    tiles.find((tile) => tile.source === Track.Source.ScreenShare && !tile.participant.isLocal) ??
    tiles.find((tile) => tile.source === Track.Source.ScreenShare) ??
    cameras.find((tile) => tile.participant.identity === lastSpeaker && !tile.participant.isLocal) ??
    cameras.find((tile) => !tile.participant.isLocal) ??
    tiles[0]
  );
}
