// Waiting for conditions, never for time.

const POLL_MS = 150;

/** How long a condition may take before the test fails. Generous: the machine may be compiling something else. */
export const PATIENCE_MS = 30_000;

/**
 * Asks `probe` until its answer satisfies `good`, and returns that answer.
 * Throws after `patience` milliseconds, with the last answer in the message.
 */
export async function until(what, probe, good = Boolean, patience = PATIENCE_MS) {
  const deadline = Date.now() + patience;
  for (;;) {
    let answer;
    try {
      answer = await probe();
      if (good(answer)) return answer;
    } catch (error) {
      answer = error;
    }
    if (Date.now() > deadline) throw new Error(`waited ${patience / 1000} s for: ${what}; last seen: ${describe(answer)}`);
    await pause(POLL_MS);
  }
}

/** For polling only; a test that needs a fixed pause is wrong. */
export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function describe(answer) {
  return answer instanceof Error ? answer.message : JSON.stringify(answer);
}
