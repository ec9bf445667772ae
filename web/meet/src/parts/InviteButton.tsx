import { useEffect, useState } from "react";
import { roomPath } from "../lib/rooms";
import { Icon } from "./Icon";

const SHOWN_MS = 2500;

/** Copies the room's link; where the clipboard is closed to the page, shows the link to copy by hand. */
export function InviteButton({ room }: { room: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);

  const link = location.origin + roomPath(room);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(link);
      setCopied(true);
    } catch {
      window.prompt("Copy this link and send it to the people you want to meet:", link);
    }
  };
  return (
    <button type="button" className="button quiet invite" onClick={() => void copy()} aria-label="Copy invite link" title={link}>
      <Icon name={copied ? "check" : "link"} size={18} />
      <span aria-live="polite">{copied ? "Link copied" : "Invite"}</span>
    </button>
  );
}
