import { useEffect, useState } from "react";
import { roomInPath, roomPath } from "./lib/rooms";
import { Home } from "./pages/Home";
import { Lobby, type Joining } from "./pages/Lobby";
import { Meeting } from "./pages/Meeting";

/** Which page the address stands for: `/` is the front door, `/r/NAME` a room. */
export function App() {
  const [room, setRoom] = useState(() => roomInPath(location.pathname));
  const [joining, setJoining] = useState<Joining>();

  useEffect(() => {
    const moved = () => {
      setJoining(undefined);
      setRoom(roomInPath(location.pathname));
    };
    window.addEventListener("popstate", moved);
    return () => window.removeEventListener("popstate", moved);
  }, []);
  useEffect(() => {
    document.title = room ? `${room} · Stoa` : "Stoa";
  }, [room]);

  const go = (to: string | undefined) => {
    history.pushState(null, "", to ? roomPath(to) : "/");
    setJoining(undefined);
    setRoom(to);
  };
  if (room === undefined) return <Home onRoom={go} />;
  if (!joining) return <Lobby key={room} room={room} onJoin={setJoining} />;
  return <Meeting room={room} joining={joining} onRejoin={() => setJoining(undefined)} onHome={() => go(undefined)} />;
}
