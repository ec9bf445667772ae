import { useEffect, type ReactNode } from "react";
import { Icon } from "./Icon";

/** A column beside the call; on a phone it covers the call. Escape closes it. */
export function Panel({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  useEffect(() => {
    const opener = document.activeElement;
    return () => {
      if (opener instanceof HTMLElement) opener.focus();
    };
  }, []);
  return (
    <aside className="panel" aria-label={title} onKeyDown={(event) => event.key === "Escape" && onClose()}>
      <header>
        <h2>{title}</h2>
        <button type="button" className="icon-button" aria-label={`Close ${title.toLowerCase()}`} onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      {children}
    </aside>
  );
}
