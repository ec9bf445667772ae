// What a person saw and heard over time: figures from the record of the harness page.

/** The longest time in ms without a new picture between `from` and `to`, both ends included. */
export function longestFreeze({ pictures }, from, to) {
  const shown = pictures.map(({ at }) => at).filter((at) => at >= from && at <= to);
  return [...shown, to].reduce(({ longest, last }, at) => ({ longest: Math.max(longest, at - last), last: at }), { longest: 0, last: from }).longest;
}

/** Pictures per second between `from` and `to`. */
export function pictureRate({ pictures }, from, to) {
  return (pictures.filter(({ at }) => at >= from && at < to).length * 1000) / (to - from);
}

/** When, from `from` on, the first picture of this width came; undefined if none did. */
export function firstOfWidth({ pictures }, width, from) {
  return pictures.find((picture) => picture.at >= from && picture.width === width)?.at;
}

/** The share of sound between `from` and `to` that the receiver had to make up. */
export function concealment({ sound }, from, to) {
  const within = sound.filter(({ at }) => at >= from && at <= to);
  const [first, last] = [within[0], within.at(-1)];
  if (!first || last.all === first.all) return NaN;
  return (last.concealed - first.concealed) / (last.all - first.all);
}

/** The width that most pictures between `from` and `to` had. */
export function usualWidth({ pictures }, from, to) {
  const counts = new Map();
  for (const { at, width } of pictures) if (at >= from && at < to) counts.set(width, (counts.get(width) ?? 0) + 1);
  return [...counts].toSorted((a, b) => b[1] - a[1])[0]?.[0];
}
