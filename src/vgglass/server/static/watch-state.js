// The run that the page trains: its state is followed while the view is open, and one point of its record is shown.
import { Refused } from "./http.js";
import { get, patch, subscribe } from "./store.js";
import { fetchEvents, fetchLosses, fetchPinned, fetchPoint } from "./watch-api.js";

/** @typedef {import("./watch-api.js").Status} Status */
/** @typedef {"start" | "end" | "outcome"} Act what is guessed before */

/**
 * @typedef {object} Watch
 * @property {Status | null} status
 * @property {Float32Array} losses loss and accuracy of each step's batch, in turn
 * @property {number | null} playhead the point looked at, by its step; null follows the newest
 * @property {import("./watch-api.js").Point | null} point that is drawn
 * @property {import("./watch-api.js").Tensor | null} pinned images
 * @property {Partial<Record<Act, string>>} guesses
 */

const KEPT = 16; // points in memory: some 65 KB each
const AGAIN = 1000; // milliseconds after a failure

/** @type {Map<string, import("./watch-api.js").Point>} */
const kept = new Map();
/** Numbers the wishes for a point; only the latest is shown. */
let latest = 0;

/** @param {Partial<Watch>} values */
export const patchWatch = values => patch({ watch: { ...get().watch, ...values } });

/** Show the point after so many steps; null follows the newest. @param {number | null} playhead */
export function movePlayhead(playhead) {
  patchWatch({ playhead });
  return showPoint();
}

/** Steps of all points. @param {Status | null} status */
export const stepsOf = status => status?.points.map(point => point.step) ?? [];

/** The step that is looked at. @param {Watch} watch */
export const lookedAt = ({ status, playhead }) => playhead ?? stepsOf(status).at(-1) ?? 0;

/** Take a status of the server, and fetch what is new. @param {Status} status */
export async function take(status) {
  const { status: before, losses } = get().watch, other = before?.number !== status.number;
  if (before && status.number < before.number) return; // the server was started again
  patchWatch(other
    ? { status, losses: new Float32Array(), playhead: null, point: null, pinned: null, guesses: restored(status) }
    : { status });
  if (other) kept.clear();
  if (!status.about) return;
  const known = other ? 0 : losses.length / 2;
  if (status.done > known) {
    const more = await fetchLosses(status.number, known), now = get().watch;
    if (now.status?.number === status.number && now.losses.length === 2 * known) {
      const all = new Float32Array(2 * known + more.length);
      all.set(now.losses);
      all.set(more, 2 * known);
      patchWatch({ losses: all });
    }
  }
  if (!get().watch.pinned) {
    const pinned = await fetchPinned(status.number);
    if (get().watch.status?.number === status.number) patchWatch({ pinned });
  }
  if (get().watch.playhead === null) await showPoint();
}

/** A guess made before the start is kept. @param {Status} status */
function restored(status) {
  const { guesses, status: before } = get().watch;
  return before && before.number + 1 === status.number ? guesses : {};
}

async function showPoint() {
  const turn = ++latest, { status, playhead } = get().watch, step = playhead ?? stepsOf(status).at(-1);
  if (!status || step === undefined) return;
  const key = `${status.number}:${step}`, found = kept.get(key) ?? (await fetchPoint(status.number, step));
  kept.delete(key);
  kept.set(key, found);
  for (const old of kept.keys()) {
    if (kept.size <= KEPT) break;
    kept.delete(old);
  }
  if (turn === latest) patchWatch({ point: found });
}

/** Follow the server's run for as long as the view is open. */
export function followTraining() {
  let stop = new AbortController();
  const follow = async () => {
    stop.abort();
    stop = new AbortController();
    const { signal } = stop;
    while (get().view === "watch" && !signal.aborted) {
      try {
        for await (const status of fetchEvents(signal)) await take(status);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Refused && error.status !== 404 && error.status !== 502) throw error;
        await new Promise(resolve => setTimeout(resolve, AGAIN));
      }
    }
  };
  subscribe(changed => {
    if (!changed.has("view")) return;
    if (get().view === "watch") follow();
    else stop.abort();
  });
  if (get().view === "watch") follow();
}
