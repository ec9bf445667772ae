import { useState } from "react";
import type { Channel, Message } from "stoa-messaging";
import { linkify } from "../lib/linkify";
import { Icon } from "../parts/Icon";
import { type Session, shownName } from "./session";
import { textOf } from "./text";

const EMOJI = ["👍", "❤️", "😂", "🎉", "😮"];

interface Props {
  session: Session;
  channel: Channel;
  message: Message;
  follows: boolean;
  group: boolean;
  onReply: (message: Message) => void;
  onEdit: (message: Message) => void;
}

/** One message, with what became of it and what one can do with it. */
export function Bubble({ session, channel, message, follows, group, onReply, onEdit }: Props) {
  const [open, setOpen] = useState(false);
  const own = message.from?.user === session.user;
  const author = shownName(message.from?.user ?? "somebody");
  return (
    <li className={own ? "message own" : "message"} data-status={message.status}>
      {!follows && group && !own && <p className="message-from"><strong>{author}</strong></p>}
      <div className="bubble-row">
        <div className="message-text">
          {message.replyTo && <Quote channel={channel} id={message.replyTo} />}
          {message.deleted ? <em>Deleted</em> : <Text text={textOf(message.body)} />}
          <Meta channel={channel} message={message} own={own} />
        </div>
        {!message.deleted && message.status !== "refused" && message.status !== "unknown" && (
          <button type="button" className="icon-button more" aria-label={`Actions for: ${textOf(message.body)}`} aria-expanded={open} onClick={() => setOpen(!open)}>
            <span aria-hidden="true">⋯</span>
          </button>
        )}
      </div>
      {open && <Actions channel={channel} message={message} own={own} onReply={onReply} onEdit={onEdit} onDone={() => setOpen(false)} />}
      {message.totals.length > 0 && (
        <p className="totals">
          {message.totals.map(({ emoji, count, mine }) => (
            <button key={emoji} type="button" aria-pressed={mine} aria-label={`${emoji} ${count}`} onClick={() => channel.react(message, emoji, !mine)}>
              {emoji} {count}
            </button>
          ))}
        </p>
      )}
      {(message.status === "refused" || message.status === "unknown") && <Failed channel={channel} message={message} />}
    </li>
  );
}

function Text({ text }: { text: string }) {
  return linkify(text).map((part, index) =>
    part.href ? (
      <a key={index} href={part.href} target="_blank" rel="noopener noreferrer">{part.text}</a>
    ) : (
      part.text
    ),
  );
}

function Quote({ channel, id }: { channel: Channel; id: string }) {
  const message = channel.message(id);
  return (
    <blockquote>
      <strong>{message ? shownName(message.from?.user ?? "") : "Reply"}</strong> {message ? (message.deleted ? "Deleted" : textOf(message.body)) : "to an earlier message"}
    </blockquote>
  );
}

/** When, and whether it has arrived and was read. */
function Meta({ channel, message, own }: { channel: Channel; message: Message; own: boolean }) {
  const time = new Date(message.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return (
    <small className="meta">
      {message.edited && !message.deleted && "edited "}
      <time>{time}</time>
      {own && !message.deleted && <Receipt channel={channel} message={message} />}
    </small>
  );
}

function Receipt({ channel, message }: { channel: Channel; message: Message }) {
  if (message.status !== "sent") return <span aria-label="Sending"> ◷</span>;
  const { read, delivered, approx } = channel.receipt(message);
  const others = (channel.state?.members ?? 2) - 1;
  if (read > 0) {
    const label = others > 1 ? `Read by ${approx ? "about " : ""}${read}` : "Read";
    return <span className="read" aria-label={label} title={label}> ✓✓{others > 1 ? ` ${read}` : ""}</span>;
  }
  return delivered > 0 ? <span aria-label="Delivered" title="Delivered"> ✓✓</span> : <span aria-label="Sent" title="Sent"> ✓</span>;
}

function Actions({ channel, message, own, onReply, onEdit, onDone }: Pick<Props, "channel" | "message" | "onReply" | "onEdit"> & { own: boolean; onDone: () => void }) {
  const act = (what: () => void) => () => {
    what();
    onDone();
  };
  return (
    <div className="actions" role="group" aria-label="Actions">
      {EMOJI.map((emoji) => {
        const mine = message.totals.some((total) => total.emoji === emoji && total.mine);
        return <button key={emoji} type="button" aria-label={`React with ${emoji}`} aria-pressed={mine} onClick={act(() => channel.react(message, emoji, !mine))}>{emoji}</button>;
      })}
      <button type="button" onClick={act(() => onReply(message))}>Reply</button>
      {own && <button type="button" onClick={act(() => onEdit(message))}>Edit</button>}
      {own && <button type="button" onClick={act(() => channel.delete(message))}>Delete</button>}
    </div>
  );
}

function Failed({ channel, message }: { channel: Channel; message: Message }) {
  const why = message.status === "unknown" ? "It may not have been sent." : (REASONS[message.error?.code ?? ""] ?? "Not sent.");
  return (
    <p className="failed" role="alert">
      <Icon name="warning" size={14} /> {why}
      <button type="button" onClick={() => channel.resend(message)}>Send again</button>
      <button type="button" onClick={() => channel.discard(message)}>Discard</button>
    </p>
  );
}

const REASONS: Record<string, string> = {
  muted: "You may not write here for now.",
  too_large: "Too long.",
  not_member: "You are not in this conversation.",
  forbidden: "You may not write here.",
};
