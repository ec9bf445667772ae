/** The first pause; each further one is twice as long, up to [`LONGEST`]. Milliseconds. */
const FIRST = 400;
const LONGEST = 30_000;

/** How long to wait before the `attempt`-th connection in a row (from 0), with `random` in [0, 1): clients that lost the same server do not
 * come back in step. */
export function pause(attempt: number, random: number): number {
  const full = Math.min(LONGEST, FIRST * 2 ** Math.min(attempt, 16));
  return Math.round(full / 2 + (full / 2) * random);
}
