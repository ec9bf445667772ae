// What the client needs of the world: a clock, timers, randomness and sockets. Tests bring their own, with a clock that they turn.

export interface SocketEvents {
  open(): void;
  message(data: string | Uint8Array): void;
  /** 1006 when nothing was said. */
  close(code: number, reason: string): void;
}

export interface Socket {
  send(data: string | Uint8Array): void;
  close(code?: number, reason?: string): void;
}

export interface Platform {
  /** Milliseconds since 1970. */
  now(): number;
  /** Calls once after so many milliseconds; the result calls it off. */
  after(ms: number, call: () => void): () => void;
  /** In [0, 1). */
  random(): number;
  /** An id that nobody else makes: 128 random bits. */
  id(): string;
  open(url: string, subprotocol: string, events: SocketEvents): Socket;
  /** Calls whenever the network or the page has come back; the result ends that. */
  onWake?(call: () => void): () => void;
}

/** A WebSocket's constructor: the global one, or that of a package for Node before 22. */
export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => {
  binaryType: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown } & never) => void) | null;
  onclose: ((event: { code: number; reason: string } & never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
};

/** Browsers and Node. */
export function systemPlatform(constructor?: unknown): Platform {
  return {
    now: () => Date.now(),
    after: (ms, call) => {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
    random: () => Math.random(),
    id: () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join(""),
    open: (url, subprotocol, events) => openWebSocket(constructorOf(constructor), url, subprotocol, events),
    onWake,
  };
}

/** In a browser: a phone that is unlocked, a laptop that is opened. Timers stood still meanwhile, and the socket may be dead. */
function onWake(call: () => void): () => void {
  if (typeof document === "undefined") return () => {};
  const visible = () => (document.visibilityState === "visible" ? call() : undefined);
  addEventListener("online", call);
  document.addEventListener("visibilitychange", visible);
  return () => {
    removeEventListener("online", call);
    document.removeEventListener("visibilitychange", visible);
  };
}

function constructorOf(given: unknown): WebSocketConstructor {
  const constructor = given ?? (globalThis as { WebSocket?: unknown }).WebSocket;
  if (typeof constructor === "function") return constructor as WebSocketConstructor;
  throw new Error("there is no WebSocket here: use Node 22 or newer, or pass the option `webSocket`");
}

function openWebSocket(constructor: WebSocketConstructor, url: string, subprotocol: string, events: SocketEvents): Socket {
  const socket = new constructor(url, [subprotocol]);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => events.open();
  socket.onmessage = ({ data }: { data: unknown }) => {
    if (typeof data === "string") events.message(data);
    else if (data instanceof ArrayBuffer) events.message(new Uint8Array(data));
  };
  socket.onclose = ({ code, reason }: { code: number; reason: string }) => events.close(code, reason);
  // An error is always followed by `close`.
  socket.onerror = () => {};
  return {
    send: (data) => socket.send(data as string | Uint8Array<ArrayBuffer>),
    close: (code, reason) => socket.close(code, reason),
  };
}
