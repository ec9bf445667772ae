import type { CSSProperties } from "react";
import { hueOf, initials } from "../lib/people";

/** A round badge with initials, in the person's own colour. */
export function Avatar({ name, identity }: { name: string; identity: string }) {
  return (
    <span className="avatar" style={{ "--hue": hueOf(identity) } as CSSProperties} aria-hidden="true">
      {initials(name)}
    </span>
  );
}
