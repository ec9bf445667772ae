import { useState, type FormEvent } from "react";
import { directId } from "stoa-messaging";
import { loadChoices, saveChoices } from "../lib/choices";
import { Icon } from "../parts/Icon";
import { Wordmark } from "../parts/Wordmark";
import { ContactList } from "./ContactList";
import { Conversation } from "./Conversation";
import { useConnected, usePresence, useRoster, useSession } from "./hooks";
import { remembered, type Session, signIn, signOut, userFrom } from "./session";

interface Props {
  /** The conversation in the address. */
  selected: string | undefined;
  onSelect: (channel: string | undefined) => void;
  onCall: (room: string, channel: string) => void;
  onHome: () => void;
}

/** People, groups, and what they say. */
export function Messages(props: Props) {
  const session = useSession();
  return session ? <SignedIn key={session.user} session={session} {...props} /> : <SignIn onHome={props.onHome} />;
}

function SignIn({ onHome }: { onHome: () => void }) {
  const [name, setName] = useState(() => remembered() ?? loadChoices().name);
  const [state, setState] = useState<"idle" | "busy" | "failed">(() => (remembered() ? "busy" : "idle"));
  const go = () => {
    setState("busy");
    saveChoices({ name: name.trim() });
    signIn(name).catch(() => setState("failed"));
  };
  // After a reload one is signed in as before.
  useState(() => remembered() && go());
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (userFrom(name)) go();
  };
  return (
    <main className="home">
      <Wordmark />
      <h1>Messages</h1>
      <p className="lead">Sign in with your name. On several devices, use the same one.</p>
      <form className="join-by-name" onSubmit={submit}>
        <label className="visually-hidden" htmlFor="me">Your name</label>
        <input id="me" value={name} onChange={(event) => setName(event.target.value)} placeholder="Your name" autoComplete="name" autoFocus maxLength={60} enterKeyHint="go" />
        <button type="submit" className="button primary" disabled={!userFrom(name) || state === "busy"}>
          {state === "busy" ? "Signing in…" : "Sign in"}
        </button>
      </form>
      {state === "failed" && <p role="alert" className="form-problem">The server did not let you in. Check that it is running, and try again.</p>}
      <button type="button" className="button quiet" onClick={onHome}>Back to the start</button>
    </main>
  );
}

function SignedIn({ session, selected, onSelect, onCall, onHome }: Props & { session: Session }) {
  const roster = useRoster(session);
  const { client, user } = session;
  const entry = selected === undefined ? undefined : (roster.get(selected) ?? roster.add(selected, selected.startsWith("direct:") ? "direct" : "group"));
  usePresence(client, roster.entries.flatMap(({ peer }) => peer ?? []).slice(0, 100).sort());
  const openDirect = async (peer: string) => {
    const id = directId(user, peer);
    await client.create(id, { kind: "direct", peer }).catch(() => undefined);
    roster.add(id, "direct", peer);
    onSelect(id);
  };
  const openGroup = async (name: string, members: string[]) => {
    const id = `group-${client.newId()}`;
    await client.create(id, { kind: "group", settings: { name }, members: members.map((each) => ({ user: each })) });
    roster.add(id, "group", undefined, name);
    onSelect(id);
  };
  const leave = () => {
    signOut();
    onHome();
  };
  return (
    <div className="messenger" data-open={entry !== undefined}>
      <ContactList session={session} entries={roster.entries} selected={selected} onSelect={onSelect} onDirect={openDirect} onGroup={openGroup} onSignOut={leave} />
      {entry ? (
        <Conversation key={entry.channel.id} session={session} entry={entry} onBack={() => onSelect(undefined)} onCall={onCall} />
      ) : (
        <section className="conversation none">
          <Icon name="chat" size={40} />
          <p>Choose a conversation, or begin one by name.</p>
        </section>
      )}
      <Offline session={session} />
    </div>
  );
}

function Offline({ session }: { session: Session }) {
  const connected = useConnected(session.client);
  if (connected) return null;
  return (
    <div className="banner" role="status">
      <span className="spinner small" aria-hidden="true" />
      {session.client.ended === "replaced" ? "Opened in another tab." : "No connection. Reconnecting…"}
    </div>
  );
}
