import { isTrackReference, ParticipantTile, useIsMuted, useTrackRefContext, VideoTrack, type TrackReferenceOrPlaceholder } from "@livekit/components-react";
import { Track } from "livekit-client";
import { useDisplayName } from "../hooks/useDisplayName";
import { Avatar } from "./Avatar";
import { Icon } from "./Icon";
import { QualityBars } from "./QualityBars";

interface Props {
  onPin: (tile: TrackReferenceOrPlaceholder) => void;
  pinned?: boolean;
}

/** One person's picture, or screen, with name and state. Reads which one from the surrounding track context. */
export function Tile({ onPin, pinned }: Props) {
  const tile = useTrackRefContext();
  const { participant, source } = tile;
  const name = useDisplayName(participant);
  const pictureOff = useIsMuted(tile);
  const silent = useIsMuted({ participant, source: Track.Source.Microphone });
  const isScreen = source === Track.Source.ScreenShare;
  const pinLabel = pinned ? `Unpin ${name}` : `Show ${name} large`;
  return (
    <ParticipantTile className="lk-participant-tile tile" data-identity={participant.identity}>
      {isTrackReference(tile) && !pictureOff ? (
        <VideoTrack trackRef={tile} className={`lk-participant-media-video${participant.isLocal && !isScreen ? " mirrored" : ""}`} />
      ) : (
        <div className="no-picture">
          <Avatar name={participant.name || participant.identity} identity={participant.identity} />
        </div>
      )}
      <div className="tile-label">
        {!isScreen && silent && (
          <span className="muted-mark" role="img" aria-label="Microphone off">
            <Icon name="microphoneOff" size={14} />
          </span>
        )}
        <span className="tile-name">{isScreen ? `${name}: screen` : name}</span>
        <QualityBars participant={participant} />
      </div>
      <button type="button" className="icon-button tile-pin" aria-label={pinLabel} title={pinLabel} aria-pressed={pinned} onClick={() => onPin(tile)}>
        <Icon name="pin" size={16} />
      </button>
    </ParticipantTile>
  );
}
