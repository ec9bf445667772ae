import { useEffect, useState } from "react";
import { openDevice } from "./lib/capture";
import { loadChoices } from "./lib/choices";
import { pathOf, placeIn, titleOf, type Place } from "./lib/places";
import { Messages } from "./messages/Messages";
import { Ringing } from "./messages/Ringing";
import { session, shownName } from "./messages/session";
import { Home } from "./pages/Home";
import { Lobby, type Joining } from "./pages/Lobby";
import { Meeting } from "./pages/Meeting";

/** The page that the address stands for, and the calls that ring on all of them. */
export function App() {
  const [place, setPlace] = useState(() => placeIn(location));
  const [joining, setJoining] = useState<Joining>();

  useEffect(() => {
    const moved = () => {
      setJoining(undefined);
      setPlace(placeIn(location));
    };
    window.addEventListener("popstate", moved);
    return () => window.removeEventListener("popstate", moved);
  }, []);
  const title = titleOf(place);
  useEffect(() => {
    document.title = title;
  }, [title]);

  const go = (to: Place, how?: Joining) => {
    history.pushState(null, "", pathOf(to));
    setJoining(how);
    setPlace(to);
  };
  const enterCall = (room: string, channel: string) => go({ page: "room", room, channel }, atOnce());
  return (
    <>
      <Page place={place} joining={joining} go={go} onCall={enterCall} onJoining={setJoining} />
      <Ringing onCall={enterCall} />
    </>
  );
}

interface PageProps {
  place: Place;
  joining: Joining | undefined;
  go: (to: Place) => void;
  onCall: (room: string, channel: string) => void;
  onJoining: (joining: Joining | undefined) => void;
}

function Page({ place, joining, go, onCall, onJoining }: PageProps) {
  const home = () => go({ page: "home" });
  if (place.page === "home") return <Home onRoom={(room) => go({ page: "room", room })} onMessages={() => go({ page: "messages" })} />;
  if (place.page === "messages") {
    return <Messages selected={place.channel} onSelect={(channel) => go({ page: "messages", channel })} onCall={onCall} onHome={home} />;
  }
  const { room, channel } = place;
  if (!joining) return <Lobby key={room} room={room} onJoin={onJoining} />;
  const back = () => (channel ? go({ page: "messages", channel }) : home());
  return <Meeting key={room} room={room} channel={channel} joining={joining} onRejoin={() => onJoining(undefined)} onHome={back} />;
}

/** Who answers a call does not stop in the lobby: microphone and camera as they were last time. */
function atOnce(): Joining {
  const choices = loadChoices();
  const open = <D extends "microphone" | "camera">(device: D, id: string) => (choices[device] ? openDevice(device, id).catch(() => undefined) : Promise.resolve(undefined));
  const user = session()?.user;
  const name = user ? shownName(user) : choices.name || "Guest";
  return { name, choices, microphone: open("microphone", choices.microphoneId), camera: open("camera", choices.cameraId) };
}
