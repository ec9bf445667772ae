/** The name of the project with its mark: a portico. */
export function Wordmark() {
  return (
    <span className="wordmark">
      <svg width="30" height="30" viewBox="0 0 32 32" aria-hidden="true">
        <rect width="32" height="32" rx="8" />
        <path d="M6 12 16 6l10 6M7 25h18M10.5 14.5v7.5M16 14.5v7.5M21.5 14.5v7.5" />
      </svg>
      Stoa
    </span>
  );
}
