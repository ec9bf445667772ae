import type { Answer, Problem } from "./connection.js";
import type { Marks } from "./marks.js";
import type { Platform } from "./platform.js";
import type { Args, CommandName, Cursor, From, Name, Ok } from "./protocol.js";

/** What a channel needs of its client. */
export interface ChannelHost {
  readonly platform: Platform;
  readonly marks: Marks;
  readonly connected: boolean;
  /** Send delivered marks too. */
  readonly receipts: boolean;
  own(): From;
  /** On the present connection or not at all. */
  issue<C extends CommandName>(command: C, args: Args<C>, done: (answer: Answer<C>) => void): boolean;
  /** Over reconnections, until it is answered. */
  request<C extends CommandName>(command: C, args: Args<C>): Promise<Ok<C>>;
  /** The channel's state for the storage changed; `now`: before anything else is done. */
  save(channel: Name, now: boolean): void;
  problem(problem: Problem): void;
  /** Cursors of other channels, those that moved last first. */
  cursors(but: Name): [Name, Cursor][];
}
