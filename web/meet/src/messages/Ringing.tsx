import { useEffect, useState } from "react";
import type { CallFrame } from "stoa-messaging";
import { Avatar } from "../parts/Avatar";
import { Icon } from "../parts/Icon";
import { useRinging, useSession } from "./hooks";
import { remembered, type Session, shownName, signIn } from "./session";

interface Props {
  onCall: (room: string, channel: string) => void;
}

/** Rings wherever on the page one is, while one is signed in. */
export function Ringing({ onCall }: Props) {
  const session = useSession();
  useEffect(() => {
    const name = remembered();
    if (!session && name) signIn(name).catch(() => undefined);
  }, [session]);
  return session ? <Calls session={session} onCall={onCall} /> : null;
}

function Calls({ session, onCall }: Props & { session: Session }) {
  const [call] = useRinging(session.client);
  return call ? <Card key={call.call} session={session} call={call} onCall={onCall} /> : null;
}

function Card({ session, call, onCall }: Props & { session: Session; call: CallFrame }) {
  const [busy, setBusy] = useState(false);
  const caller = shownName(call.from);
  const accept = async () => {
    setBusy(true);
    try {
      const answered = await session.client.calls.accept(call.call);
      onCall(answered.room ?? call.room ?? call.call, call.channel);
    } catch {
      // Another device was first, or the caller gave up: the next step takes the card away.
      setBusy(false);
    }
  };
  const decline = () => {
    setBusy(true);
    session.client.calls.decline(call.call).catch(() => setBusy(false));
  };
  return (
    <div className="ringing" role="alertdialog" aria-label={`${caller} is calling`}>
      <Avatar name={caller} identity={call.from} />
      <p>
        <strong>{caller}</strong>
        <small>is calling</small>
      </p>
      <button type="button" className="control leave" aria-label="Decline" disabled={busy} onClick={decline}>
        <Icon name="leave" />
      </button>
      <button type="button" className="control accept" aria-label="Accept" disabled={busy} onClick={() => void accept()} autoFocus>
        <Icon name="camera" />
      </button>
    </div>
  );
}
