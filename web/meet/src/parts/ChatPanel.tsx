import type { ReceivedChatMessage } from "@livekit/components-react";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { linkify } from "../lib/linkify";
import { Icon } from "./Icon";
import { Panel } from "./Panel";

interface Props {
  messages: readonly ReceivedChatMessage[];
  send: (text: string) => Promise<unknown>;
  onClose: () => void;
}

const MAX_MESSAGE = 2000;

/** Text among the people in the room. Nothing is stored: who comes later does not see it. */
export function ChatPanel({ messages, send, onClose }: Props) {
  return (
    <Panel title="Chat" onClose={onClose}>
      <MessageList messages={messages} />
      <Composer send={send} />
    </Panel>
  );
}

function MessageList({ messages }: { messages: readonly ReceivedChatMessage[] }) {
  const end = useRef<HTMLLIElement>(null);
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" });
  }, [messages.length]);
  if (messages.length === 0) {
    return <p className="empty">No messages yet. Everyone in the room sees what you write; it is gone when the meeting ends.</p>;
  }
  return (
    <ol className="messages" role="log" aria-label="Messages">
      {messages.map((message, index) => (
        <Message key={message.id ?? message.timestamp} message={message} follows={messages[index - 1]?.from?.identity === message.from?.identity && index > 0} />
      ))}
      <li ref={end} aria-hidden="true" />
    </ol>
  );
}

function Message({ message, follows }: { message: ReceivedChatMessage; follows: boolean }) {
  const own = message.from?.isLocal === true;
  const time = new Date(message.timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return (
    <li className={own ? "message own" : "message"}>
      {!follows && (
        <p className="message-from">
          <strong>{own ? "You" : message.from?.name || message.from?.identity || "Somebody"}</strong> <time>{time}</time>
        </p>
      )}
      <p className="message-text">
        {linkify(message.message).map((part, index) =>
          part.href ? (
            <a key={index} href={part.href} target="_blank" rel="noopener noreferrer">
              {part.text}
            </a>
          ) : (
            part.text
          ),
        )}
      </p>
    </li>
  );
}

function Composer({ send }: { send: (text: string) => Promise<unknown> }) {
  const [text, setText] = useState("");
  const [failed, setFailed] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const message = text.trim();
    if (!message) return;
    setText("");
    setFailed(false);
    try {
      await send(message);
    } catch {
      setText(message);
      setFailed(true);
    }
  };
  return (
    <form className="composer" onSubmit={(event) => void submit(event)}>
      {failed && <p role="alert">Not sent. Check your connection and try again.</p>}
      <input value={text} onChange={(event) => setText(event.target.value)} aria-label="Message" placeholder="Write to everyone" autoComplete="off" autoFocus maxLength={MAX_MESSAGE} enterKeyHint="send" />
      <button type="submit" className="icon-button send" aria-label="Send message" disabled={!text.trim()}>
        <Icon name="send" />
      </button>
    </form>
  );
}
