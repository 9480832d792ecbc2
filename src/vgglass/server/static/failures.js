// What the server refuses is told beside what was asked for, in the page's language; what was there before stays.
import { Refused } from "./http.js";
import { get, patch } from "./store.js";
import { fill } from "./ui.js";
import { words } from "./words.js";

/** @typedef {import("./store.js").Place} Place */

/** Do some work for a part of the page. Undefined if it was refused, which is told there, or given up.
 * @template T @param {Place} place @param {() => Promise<T>} work @returns {Promise<T | undefined>} */
export async function attempt(place, work) {
  try {
    const found = await work();
    if (get().failures[place]) tell(place, undefined);
    return found;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return undefined;
    if (!(error instanceof Refused)) throw error;
    if (error.type !== "replaced") tell(place, error);
    return undefined;
  }
}

/** @param {Place} place @param {Refused | undefined} refused */
export function tell(place, refused) {
  patch({ failures: { ...get().failures, [place]: refused } });
}

/** The refusal in the page's language. The server's own sentence names the value: it stays in English.
 * @param {Refused} refused */
export function explained({ status, type, message }) {
  if (type === "proxy") return fill(words.proxy, { status });
  if (type === "gone") return words.gone;
  if (get().language === "en") return message;
  const known = type in words.refusals ? /** @type {keyof typeof words.refusals} */ (type) : "other";
  return fill(words.refused, { sentence: words.refusals[known], message });
}
