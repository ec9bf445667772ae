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

/** How a number of equal tiles share a rectangle. */
export interface Grid {
  columns: number;
  rows: number;
}

// Cameras are wide; on an upright phone they are often upright too, and a square loses little of either.
const LIKED_ASPECT = { wide: 4 / 3, upright: 1 };
// Below this height, in CSS pixels, a tile shows nothing worth seeing: the grid scrolls then.
export const MIN_TILE_HEIGHT = 120;

/** The grid whose tiles leave the largest picture of the liked shape, for `count` tiles in `width` by `height` CSS pixels. */
export function bestGrid(count: number, width: number, height: number): Grid {
  const aspect = height > width ? LIKED_ASPECT.upright : LIKED_ASPECT.wide;
  let best: Grid = { columns: 1, rows: Math.max(1, count) };
  let bestArea = 0;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const tileHeight = Math.max(height / rows, MIN_TILE_HEIGHT);
    const picture = Math.min(width / columns, tileHeight * aspect);
    // A little more area is not worth more columns.
    if (picture > bestArea * 1.01) {
      best = { columns, rows };
      bestArea = picture;
    }
  }
  return best;
}
