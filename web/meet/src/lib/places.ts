import { roomInPath, roomPath } from "./rooms";

/** Which page an address stands for. */
export type Place =
  | { page: "home" }
  /** `/r/NAME`; with `?channel=ID` the chat beside the call is that channel. */
  | { page: "room"; room: string; channel?: string }
  /** `/chat` and `/chat/ID`. */
  | { page: "messages"; channel?: string };

export function placeIn({ pathname, search }: { pathname: string; search: string }): Place {
  const room = roomInPath(pathname);
  if (room !== undefined) return { page: "room", room, channel: new URLSearchParams(search).get("channel") ?? undefined };
  const chat = /^\/chat(?:\/([^/]+))?\/?$/.exec(pathname);
  if (!chat) return { page: "home" };
  try {
    return { page: "messages", channel: chat[1] && decodeURIComponent(chat[1]) };
  } catch {
    return { page: "messages" };
  }
}

export function pathOf(place: Place): string {
  if (place.page === "home") return "/";
  if (place.page === "messages") return place.channel ? `/chat/${encodeURIComponent(place.channel)}` : "/chat";
  return roomPath(place.room) + (place.channel ? `?channel=${encodeURIComponent(place.channel)}` : "");
}

export function titleOf(place: Place): string {
  if (place.page === "home") return "Stoa";
  return place.page === "messages" ? "Messages · Stoa" : `${place.room} · Stoa`;
}
