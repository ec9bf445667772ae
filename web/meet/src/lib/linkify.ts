/** A piece of a message: plain text, or text that is a link. */
export interface Part {
  text: string;
  href?: string;
}

/** Splits a message into text and web links. Only http and https become links; punctuation that ends a sentence stays text. */
export function linkify(message: string): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const match of message.matchAll(/\bhttps?:\/\/[^\s<>"]+/gi)) {
    const href = match[0].replace(/[.,;:!?)\]}']+$/, "");
    if (!URL.canParse(href)) continue;
    if (match.index > end) parts.push({ text: message.slice(end, match.index) });
    parts.push({ text: href, href });
    end = match.index + href.length;
  }
  if (end < message.length) parts.push({ text: message.slice(end) });
  return parts;
}
