import { useState, type FormEvent } from "react";
import { Avatar } from "../parts/Avatar";
import { Icon } from "../parts/Icon";
import type { Entry } from "./roster";
import { type Session, shownName, userFrom } from "./session";
import { textOf } from "./text";

interface Props {
  session: Session;
  entries: readonly Entry[];
  selected: string | undefined;
  onSelect: (channel: string) => void;
  onDirect: (peer: string) => Promise<void>;
  onGroup: (name: string, members: string[]) => Promise<void>;
  onSignOut: () => void;
}

/** Everybody one talks with, and how to begin with somebody else. */
export function ContactList({ session, entries, selected, onSelect, onDirect, onGroup, onSignOut }: Props) {
  return (
    <nav className="contacts" aria-label="Conversations">
      <header>
        <Avatar name={shownName(session.user)} identity={session.user} />
        <h1>{shownName(session.user)}</h1>
        <button type="button" className="button quiet" onClick={onSignOut}>Sign out</button>
      </header>
      <Begin own={session.user} onDirect={onDirect} onGroup={onGroup} />
      {entries.length === 0 && <p className="empty">Nobody yet. Type a name above: they see your message when they sign in.</p>}
      <ul>
        {entries.map((entry) => (
          <Contact key={entry.channel.id} session={session} entry={entry} open={entry.channel.id === selected} onOpen={() => onSelect(entry.channel.id)} />
        ))}
      </ul>
    </nav>
  );
}

/** What a conversation is called. */
export function titleOf({ peer, name, channel }: Entry): string {
  return peer ? shownName(peer) : (channel.name ?? name ?? "Group");
}

function Contact({ session, entry, open, onOpen }: { session: Session; entry: Entry; open: boolean; onOpen: () => void }) {
  const { channel, peer, last } = entry;
  const there = peer !== undefined && session.client.presence.isThere(peer);
  const title = titleOf(entry);
  const newest = channel.messages.findLast(({ kind, deleted }) => kind === "message" && !deleted);
  const preview = channel.typists.users.length > 0 ? "typing…" : textOf(newest?.body ?? last?.body);
  const label = `${title}${peer ? (there ? ", online" : ", away") : ""}${channel.unread > 0 ? `, ${channel.unread} unread` : ""}`;
  return (
    <li>
      <button type="button" className="contact" aria-current={open} aria-label={label} onClick={onOpen}>
        <span className="contact-face" data-there={there}>
          <Avatar name={title} identity={peer ?? channel.id} />
        </span>
        <span className="contact-text">
          <strong>{title}</strong>
          <small>{preview}</small>
        </span>
        {channel.unread > 0 && !open && <span className="unread">{channel.unread > 99 ? "99+" : channel.unread}</span>}
      </button>
    </li>
  );
}

/** One name begins a chat, several a group. */
function Begin({ own, onDirect, onGroup }: { own: string } & Pick<Props, "onDirect" | "onGroup">) {
  const [typed, setTyped] = useState("");
  const [failed, setFailed] = useState(false);
  const names = [...new Set(typed.split(",").map(userFrom))].filter((name) => name && name !== own);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setFailed(false);
    try {
      if (names.length === 1) await onDirect(names[0]!);
      else if (names.length > 1) await onGroup(names.map(shownName).join(", "), names);
      setTyped("");
    } catch {
      setFailed(true);
    }
  };
  return (
    <form className="begin" onSubmit={(event) => void submit(event)}>
      <input value={typed} onChange={(event) => setTyped(event.target.value)} aria-label="Write to" placeholder="Name, or several: Bob, Cleo" autoComplete="off" maxLength={300} enterKeyHint="go" />
      <button type="submit" className="icon-button" aria-label="Begin" disabled={names.length === 0}>
        <Icon name="arrow" />
      </button>
      {failed && <p role="alert" className="form-problem">That did not work. Try again.</p>}
    </form>
  );
}
