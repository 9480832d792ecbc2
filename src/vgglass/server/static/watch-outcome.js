// What came of a run, judged by its recorded numbers alone.

/** @typedef {keyof import("./words.js").Words["watch"]["outcomes"]} Outcome */

const CHANCE = 2, WELL = 0.9; // times the accuracy of guessing, at most; accuracy at least

/** Null while it goes on and before there is a point. @param {import("./watch-api.js").Status} status
 * @returns {Outcome | null} */
export function outcomeOf({ state, points, about, error }) {
  const last = points.at(-1);
  if (!last || !about || state === "running" || state === "paused") return null;
  if (last.loss === null || (state === "failed" && error.includes("diverged"))) return "diverged";
  if (last.accuracy * about.classes.length <= CHANCE) return "chance";
  return last.accuracy >= WELL ? "learned" : "partly";
}
