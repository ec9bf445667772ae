import { useEffect, useLayoutEffect, useRef, useState, type FormEvent } from "react";
import type { Channel, Message } from "stoa-messaging";
import { Avatar } from "../parts/Avatar";
import { Icon } from "../parts/Icon";
import { Bubble } from "./Bubble";
import { titleOf } from "./ContactList";
import { useChannel } from "./hooks";
import type { Entry } from "./roster";
import { type Session, shownName } from "./session";
import { textOf, typingWords, wordsFor } from "./text";

interface Props {
  session: Session;
  entry: Entry;
  onBack: () => void;
  onCall: (room: string, channel: string) => void;
}

/** One conversation: what was said, and the place to say something. */
export function Conversation({ session, entry, onBack, onCall }: Props) {
  const { channel, peer } = entry;
  useChannel(channel);
  const there = peer !== undefined && session.client.presence.isThere(peer);
  const members = channel.state?.members;
  const title = titleOf(entry);
  const [problem, setProblem] = useState("");
  const call = async () => {
    setProblem("");
    try {
      const ring = await session.client.calls.invite(channel.id, { media: "video" });
      onCall(ring.room ?? ring.call, channel.id);
    } catch {
      setProblem("The call could not be started.");
    }
  };
  return (
    <section className="conversation" aria-label={`Conversation with ${title}`}>
      <header>
        <button type="button" className="icon-button back" aria-label="All conversations" onClick={onBack}>
          <Icon name="arrow" />
        </button>
        <Avatar name={title} identity={peer ?? channel.id} />
        <div className="conversation-title">
          <h2>{title}</h2>
          <small>{typingWords(channel.typists) || (peer ? (there ? "online" : "away") : members ? `${members} people` : "")}</small>
        </div>
        <button type="button" className="button" onClick={() => void call()}>
          <Icon name="camera" size={18} /> Call
        </button>
      </header>
      {problem && <p role="alert" className="form-problem">{problem}</p>}
      <Thread session={session} channel={channel} group={peer === undefined} />
    </section>
  );
}

/** The messages of a channel and the composer: in the conversation, and beside a call. */
export function Thread({ session, channel, group }: { session: Session; channel: Channel; group: boolean }) {
  useChannel(channel);
  const [replyTo, setReplyTo] = useState<Message>();
  const [editing, setEditing] = useState<Message>();
  useEffect(() => void channel.open(), [channel]);
  useMarking(channel);
  if (channel.status === "gone") return <p className="empty" role="status">{goneWords(channel)}</p>;
  return (
    <>
      <MessageList session={session} channel={channel} group={group} onReply={setReplyTo} onEdit={setEditing} />
      <Composer key={editing?.key ?? "new"} channel={channel} replyTo={replyTo} editing={editing} onDone={() => { setReplyTo(undefined); setEditing(undefined); }} />
    </>
  );
}

function goneWords({ error }: Channel): string {
  if (error?.code === "removed" || error?.code === "not_member") return "You are not in this conversation any more.";
  if (error?.code === "no_channel") return "This conversation has not begun yet.";
  return "This conversation cannot be opened.";
}

/** What is on the screen has been read. */
function useMarking(channel: Channel): void {
  useEffect(() => {
    const mark = () => document.visibilityState === "visible" && channel.status === "open" && channel.markRead();
    mark();
    document.addEventListener("visibilitychange", mark);
    const off = channel.on("item", () => queueMicrotask(mark));
    return () => {
      off();
      document.removeEventListener("visibilitychange", mark);
    };
  }, [channel, channel.status]);
}

interface ListProps {
  session: Session;
  channel: Channel;
  group: boolean;
  onReply: (message: Message) => void;
  onEdit: (message: Message) => void;
}

function MessageList({ session, channel, group, onReply, onEdit }: ListProps) {
  const list = useRef<HTMLOListElement>(null);
  const { messages } = channel;
  // Whoever reads older messages is left where they are.
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (atEnd.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [messages]);
  const [paging, setPaging] = useState(false);
  const older = async () => {
    const element = list.current;
    const before = element ? element.scrollHeight - element.scrollTop : 0;
    setPaging(true);
    await channel.older(30).catch(() => 0);
    setPaging(false);
    requestAnimationFrame(() => {
      if (element) element.scrollTop = element.scrollHeight - before;
    });
  };
  const scrolled = () => {
    const element = list.current;
    if (!element) return;
    atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 60;
    if (element.scrollTop < 40 && !paging && !channel.atStart && messages.length >= 30) void older();
  };
  return (
    <ol className="messages" role="log" aria-label="Messages" ref={list} onScroll={scrolled} tabIndex={0}>
      {!channel.atStart && messages.length >= 30 && (
        <li className="older">
          <button type="button" className="button quiet" disabled={paging} onClick={() => void older()}>{paging ? "Loading…" : "Earlier messages"}</button>
        </li>
      )}
      {messages.map((message, index) => (
        <Row key={message.key} session={session} channel={channel} message={message} before={messages[index - 1]} group={group} onReply={onReply} onEdit={onEdit} />
      ))}
    </ol>
  );
}

function Row({ message, before, ...rest }: Omit<ListProps, "messages"> & { message: Message; before: Message | undefined }) {
  const day = new Date(message.time).toDateString();
  const words = message.kind === "message" || message.kind === "custom" ? undefined : message.item && wordsFor(message.item);
  if (message.kind !== "message" && words === undefined) return null;
  return (
    <>
      {(!before || new Date(before.time).toDateString() !== day) && <li className="day">{dayWords(message.time)}</li>}
      {words !== undefined ? <li className="notice-line">{words}</li> : <Bubble message={message} follows={before?.kind === "message" && before.from?.user === message.from?.user} {...rest} />}
    </>
  );
}

function dayWords(time: number): string {
  const today = new Date().toDateString() === new Date(time).toDateString();
  return today ? "Today" : new Date(time).toLocaleDateString([], { weekday: "long", day: "numeric", month: "long" });
}

interface ComposerProps {
  channel: Channel;
  replyTo: Message | undefined;
  editing: Message | undefined;
  onDone: () => void;
}

function Composer({ channel, replyTo, editing, onDone }: ComposerProps) {
  const [text, setText] = useState(() => (editing ? textOf(editing.body) : ""));
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), [replyTo, editing]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const said = text.trim();
    if (!said) return;
    if (editing) channel.edit(editing, { text: said });
    else channel.send({ text: said }, { replyTo });
    setText("");
    onDone();
  };
  const about = editing ?? replyTo;
  return (
    <form className="composer" onSubmit={submit} onKeyDown={(event) => event.key === "Escape" && onDone()}>
      {about && (
        <div className="about">
          <span>
            <strong>{editing ? "Edit" : `Reply to ${shownName(about.from?.user ?? "")}`}</strong> {textOf(about.body)}
          </span>
          <button type="button" className="icon-button" aria-label="Do not" onClick={onDone}>
            <Icon name="close" size={16} />
          </button>
        </div>
      )}
      <input
        ref={input}
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          channel.typing(event.target.value !== "");
        }}
        aria-label="Message"
        placeholder="Message"
        autoComplete="off"
        maxLength={4000}
        enterKeyHint="send"
      />
      <button type="submit" className="icon-button send" aria-label="Send message" disabled={!text.trim()}>
        <Icon name="send" />
      </button>
    </form>
  );
}
