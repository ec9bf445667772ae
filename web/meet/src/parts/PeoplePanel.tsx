import { useIsMuted, useIsSpeaking, useParticipants, useSortedParticipants } from "@livekit/components-react";
import { Track, type Participant } from "livekit-client";
import { useDisplayName } from "../hooks/useDisplayName";
import { Avatar } from "./Avatar";
import { Icon } from "./Icon";
import { InviteButton } from "./InviteButton";
import { Panel } from "./Panel";
import { QualityBars } from "./QualityBars";

/** Who is here, with microphone, camera and connection of each. */
export function PeoplePanel({ room, onClose }: { room: string; onClose: () => void }) {
  const people = useSortedParticipants(useParticipants());
  return (
    <Panel title={`People (${people.length})`} onClose={onClose}>
      <ul className="people">
        {people.map((participant) => (
          <Person key={participant.sid} participant={participant} />
        ))}
      </ul>
      <footer>
        <InviteButton room={room} />
      </footer>
    </Panel>
  );
}

function Person({ participant }: { participant: Participant }) {
  const name = useDisplayName(participant);
  const silent = useIsMuted({ participant, source: Track.Source.Microphone });
  const unseen = useIsMuted({ participant, source: Track.Source.Camera });
  const speaking = useIsSpeaking(participant);
  return (
    <li data-speaking={speaking}>
      <Avatar name={participant.name || participant.identity} identity={participant.identity} />
      <span className="person-name">{name}</span>
      <QualityBars participant={participant} />
      <State off={silent} label={silent ? "Microphone off" : "Microphone on"} icon={silent ? "microphoneOff" : "microphone"} />
      <State off={unseen} label={unseen ? "Camera off" : "Camera on"} icon={unseen ? "cameraOff" : "camera"} />
    </li>
  );
}

function State({ off, label, icon }: { off: boolean; label: string; icon: "microphone" | "microphoneOff" | "camera" | "cameraOff" }) {
  return (
    <span className="state" data-off={off} role="img" aria-label={label} title={label}>
      <Icon name={icon} size={18} />
    </span>
  );
}
