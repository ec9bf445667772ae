import { useChat, useConnectionState, useTracks } from "@livekit/components-react";
import { ConnectionState, Track } from "livekit-client";
import { useState } from "react";
import { useSession } from "../messages/hooks";
import { ThreadPanel, useThreadUnread } from "../messages/ThreadPanel";
import { useLastSpeaker } from "../hooks/useLastSpeaker";
import { useNotices } from "../hooks/useNotices";
import { useRoomNotices } from "../hooks/useRoomNotices";
import { useUnread } from "../hooks/useUnread";
import { ChatPanel } from "./ChatPanel";
import { ControlBar, type PanelName } from "./ControlBar";
import { Icon } from "./Icon";
import { InviteButton } from "./InviteButton";
import { NoticeList } from "./NoticeList";
import { PeoplePanel } from "./PeoplePanel";
import { Stage, type View } from "./Stage";

const SOURCES = [
  { source: Track.Source.Camera, withPlaceholder: true },
  { source: Track.Source.ScreenShare, withPlaceholder: false },
];

/** The call itself: who is there, and the controls around them. With a channel, the chat beside it is that conversation, which lasts. */
export function Call({ name, channel }: { name: string; channel: string | undefined }) {
  const tiles = useTracks(SOURCES, { onlySubscribed: false });
  const lastSpeaker = useLastSpeaker();
  const notices = useNotices();
  useRoomNotices(notices);
  const chat = useChat();
  const session = useSession();
  const lasting = session && channel !== undefined ? session.client.channel(channel) : undefined;
  const [panel, setPanel] = useState<PanelName | undefined>(() => (channel && window.innerWidth > 900 ? "chat" : undefined));
  const passing = useUnread(chat.chatMessages, panel === "chat");
  const waiting = useThreadUnread(lasting);
  const unread = lasting ? (panel === "chat" ? 0 : waiting) : passing;
  const [chosenView, setView] = useState<View>();

  const somebodyShares = tiles.some((tile) => tile.source === Track.Source.ScreenShare);
  const view = chosenView ?? (somebodyShares ? "speaker" : "grid");
  const toggle = (which: PanelName) => setPanel((open) => (open === which ? undefined : which));
  return (
    <div className="call" data-panel={panel ?? "none"}>
      <header className="top-bar">
        <h1 title={name}>{name}</h1>
        <button type="button" className="button quiet" onClick={() => setView(view === "grid" ? "speaker" : "grid")} aria-label={view === "grid" ? "Switch to speaker view" : "Switch to grid view"}>
          <Icon name={view === "grid" ? "speaker" : "grid"} size={18} />
          <span>{view === "grid" ? "Speaker view" : "Grid view"}</span>
        </button>
        <InviteButton room={name} />
      </header>
      <ReconnectingBanner />
      <Stage tiles={tiles} view={view} lastSpeaker={lastSpeaker} onView={setView} />
      {panel === "chat" && session && lasting && <ThreadPanel session={session} channel={lasting} onClose={() => setPanel(undefined)} />}
      {panel === "chat" && !lasting && <ChatPanel messages={chat.chatMessages} send={chat.send} onClose={() => setPanel(undefined)} />}
      {panel === "people" && <PeoplePanel room={name} onClose={() => setPanel(undefined)} />}
      <NoticeList notices={notices} />
      <ControlBar panel={panel} onPanel={toggle} unread={unread} onProblem={notices.complain} />
    </div>
  );
}

function ReconnectingBanner() {
  const state = useConnectionState();
  if (state !== ConnectionState.Reconnecting && state !== ConnectionState.SignalReconnecting) return null;
  return (
    <div className="banner" role="status">
      <span className="spinner small" aria-hidden="true" />
      Connection lost. Reconnecting…
    </div>
  );
}
