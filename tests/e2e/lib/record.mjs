// What a person saw and heard over time: figures from the record of the harness page.

/** The longest time in ms without a new picture between `from` and `to`, both ends included. */
export function longestFreeze({ pictures }, from, to) {
  const shown = pictures.map(({ at }) => at).filter((at) => at >= from && at <= to);
  return [...shown, to].reduce(({ longest, last }, at) => ({ longest: Math.max(longest, at - last), last: at }), { longest: 0, last: from }).longest;
}

/** The longest time in ms between `from` and `to` in which no picture was decoded. Also of a page in the background, which shows none. */
export function longestStall({ samples }, from, to) {
  const rising = samples.filter(({ decoded }, index) => index === 0 || decoded > samples[index - 1].decoded);
  return longestFreeze({ pictures: rising }, from, to);
}

/** Pictures decoded per second between `from` and `to`. Fewer are shown: of two that come together the first is not. */
export function pictureRate(record, from, to) {
  const [first, last] = ends(record, from, to);
  return ((last.decoded - first.decoded) * 1000) / (last.at - first.at);
}

/** When, from `from` on, the first picture of this width came; undefined if none did. */
export function firstOfWidth({ pictures }, width, from) {
  return pictures.find((picture) => picture.at >= from && picture.width === width)?.at;
}

/** The share of sound that the receiver had to make up, of all in these spans of time. */
export function concealment(record, ...spans) {
  const total = { concealed: 0, sound: 0 };
  for (const [from, to] of spans) {
    const [first, last] = ends(record, from, to);
    for (const key of Object.keys(total)) total[key] += last[key] - first[key];
  }
  return total.concealed / total.sound;
}

function ends({ samples }, from, to) {
  const within = samples.filter(({ at }) => at >= from && at <= to);
  if (within.length < 2) throw new Error(`${within.length} samples between ${from} and ${to}`);
  return [within[0], within.at(-1)];
}

/** The width that most pictures between `from` and `to` had. */
export function usualWidth({ pictures }, from, to) {
  const counts = new Map();
  for (const { at, width } of pictures) if (at >= from && at < to) counts.set(width, (counts.get(width) ?? 0) + 1);
  return [...counts].toSorted((a, b) => b[1] - a[1])[0]?.[0];
}
