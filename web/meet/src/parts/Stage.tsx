import { TrackLoop, TrackRefContext, type TrackReferenceOrPlaceholder } from "@livekit/components-react";
import { useRef, useState, type CSSProperties } from "react";
import { useSize } from "../hooks/useSize";
import { bestGrid, onStage, tileKey } from "../lib/layout";
import { Tile } from "./Tile";

export type View = "grid" | "speaker";

interface Props {
  tiles: TrackReferenceOrPlaceholder[];
  view: View;
  lastSpeaker: string | undefined;
  onView: (view: View) => void;
}

/** Everybody's pictures: all of one size, or one large and the others in a strip. */
export function Stage({ tiles, view, lastSpeaker, onView }: Props) {
  const [pinned, setPinned] = useState<string>();
  const pin = (tile: TrackReferenceOrPlaceholder) => {
    const key = tileKey(tile);
    setPinned(pinned === key && view === "speaker" ? undefined : key);
    onView("speaker");
  };
  if (view === "grid") {
    return (
      <main className="stage">
        <TileGrid tiles={tiles} onPin={pin} />
      </main>
    );
  }
  const large = onStage(tiles, pinned, lastSpeaker);
  const others = tiles.filter((tile) => tile !== large);
  return (
    <main className="stage focus" data-alone={others.length === 0}>
      {large && (
        <TrackRefContext.Provider value={large} key={tileKey(large)}>
          <Tile onPin={pin} pinned={pinned === tileKey(large)} />
        </TrackRefContext.Provider>
      )}
      {others.length > 0 && (
        <div className="strip">
          <TrackLoop tracks={others}>
            <Tile onPin={pin} />
          </TrackLoop>
        </div>
      )}
    </main>
  );
}

/** All tiles of one size, the last row in the middle. */
function TileGrid({ tiles, onPin }: { tiles: TrackReferenceOrPlaceholder[]; onPin: (tile: TrackReferenceOrPlaceholder) => void }) {
  const element = useRef<HTMLDivElement>(null);
  const { width, height } = useSize(element);
  const { columns, rows } = bestGrid(tiles.length, width, height);
  return (
    <div className="grid" ref={element} style={{ "--columns": columns, "--rows": rows } as CSSProperties}>
      <TrackLoop tracks={tiles}>
        <Tile onPin={onPin} />
      </TrackLoop>
    </div>
  );
}
