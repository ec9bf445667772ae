import { useState, type FormEvent } from "react";
import { Icon } from "../parts/Icon";
import { Wordmark } from "../parts/Wordmark";
import { freshRoomName, roomFromInput } from "../lib/rooms";

/** The front door: a new room, the name of one, or messages. */
export function Home({ onRoom, onMessages }: { onRoom: (room: string) => void; onMessages: () => void }) {
  const [typed, setTyped] = useState("");
  const named = roomFromInput(typed);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (named) onRoom(named);
  };
  return (
    <main className="home">
      <Wordmark />
      <h1>Meet face to face, on your own server.</h1>
      <p className="lead">A room is a link. Open one, send the link, and talk. No account, nothing to install.</p>
      <button type="button" className="button primary large" onClick={() => onRoom(freshRoomName())}>
        <Icon name="camera" /> New meeting
      </button>
      <div className="divider" role="presentation">or join one</div>
      <form className="join-by-name" onSubmit={submit}>
        <label className="visually-hidden" htmlFor="room">Room name or link</label>
        <input id="room" value={typed} onChange={(event) => setTyped(event.target.value)} placeholder="Room name or link" autoComplete="off" autoCapitalize="none" spellCheck={false} enterKeyHint="go" maxLength={2000} />
        <button type="submit" className="button" disabled={!named}>
          Join <Icon name="arrow" size={18} />
        </button>
      </form>
      <button type="button" className="button" onClick={onMessages}>
        <Icon name="chat" /> Messages
      </button>
    </main>
  );
}
