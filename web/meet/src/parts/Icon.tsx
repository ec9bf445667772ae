// The page's own line icons, on a 24 by 24 grid.

const PATHS = {
  microphone: "M12 3a3 3 0 0 0-3 3v5a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3ZM5 11a7 7 0 0 0 14 0M12 18v3",
  microphoneOff: "M9 9v2a3 3 0 0 0 4.8 2.4M15 9.5V6a3 3 0 0 0-5.7-1.3M5 11a7 7 0 0 0 10.9 5.8M19 11a7 7 0 0 1-.6 2.9M12 18v3M4 4l16 16",
  camera: "M4 7h9a2 2 0 0 1 2 2v6a2 2 0 0 1-2 2H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2ZM15 11l6-3.5v9L15 13",
  cameraOff: "M10.5 7H13a2 2 0 0 1 2 2v2l6-3.5v9l-3-1.7M14.6 16.2A2 2 0 0 1 13 17H4a2 2 0 0 1-2-2V9a2 2 0 0 1 2-2h1M3 4l17 17",
  screen: "M4 4h16a1.5 1.5 0 0 1 1.5 1.5v10A1.5 1.5 0 0 1 20 17H4a1.5 1.5 0 0 1-1.5-1.5v-10A1.5 1.5 0 0 1 4 4ZM8 21h8M12 13.5V8M9.5 10 12 7.5l2.5 2.5",
  chat: "M4.5 4h15A1.5 1.5 0 0 1 21 5.5v10a1.5 1.5 0 0 1-1.5 1.5H10l-5 4v-4h-.5A1.5 1.5 0 0 1 3 15.5v-10A1.5 1.5 0 0 1 4.5 4ZM8 9h8M8 12.5h5",
  people: "M9 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 20c0-3.6 2.9-5.5 6.5-5.5s6.5 1.9 6.5 5.5M15.5 4.9a3.3 3.3 0 0 1 0 6.2M17.5 14.9c2.5.6 4 2.3 4 5.1",
  leave: "M3.5 15.6c-1-1-1.3-2.4-.4-3.5C5.3 9.6 8.6 8.5 12 8.5s6.7 1.1 8.9 3.6c.9 1.1.6 2.5-.4 3.5l-.5.5c-.4.4-1 .5-1.5.2l-2.7-1.5a1.2 1.2 0 0 1-.6-1v-1.5a10 10 0 0 0-6.4 0v1.5c0 .4-.2.8-.6 1l-2.7 1.5c-.5.3-1.1.2-1.5-.2Z",
  grid: "M4 4h6.5v6.5H4ZM13.5 4H20v6.5h-6.5ZM4 13.5h6.5V20H4ZM13.5 13.5H20V20h-6.5Z",
  speaker: "M3.5 4h17v10.5h-17ZM3.5 17.5h4V20h-4ZM10 17.5h4V20h-4ZM16.5 17.5h4V20h-4Z",
  link: "M10 14a4 4 0 0 0 5.7 0l3.6-3.6a4 4 0 0 0-5.7-5.7L12.4 6M14 10a4 4 0 0 0-5.7 0l-3.6 3.6a4 4 0 0 0 5.7 5.7l1.2-1.3",
  check: "M5 12.5l4.5 4.5L19 7.5",
  close: "M6 6l12 12M18 6 6 18",
  chevron: "M6 15l6-6 6 6",
  send: "M4 12 20.5 4 15 20.5l-3.5-7ZM11.5 13.5l4-4",
  pin: "M9 3.5h6l-.8 6 3.3 3.5v1.5h-11V13l3.3-3.5ZM12 14.5V21",
  warning: "M12 3.5 22 20.5H2ZM12 10v4.5M12 17.3v.2",
  sound: "M4 9.5v5h3.5l5 4v-13l-5 4ZM16 9a4.5 4.5 0 0 1 0 6M18.5 6.5a8 8 0 0 1 0 11",
  arrow: "M5 12h14M13 6l6 6-6 6",
} as const;

export type IconName = keyof typeof PATHS;

/** An icon; it says nothing to a screen reader, so what stands beside it must. */
export function Icon({ name, size = 20 }: { name: IconName; size?: number }) {
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
