// The /teach routes and the shapes of their answers, as server/routes/teach_json.py makes them.
import { json, lines, query, request } from "./http.js";

/**
 * The folder that is taught by; `numbers` to `digests` have an entry an image, `answers` and `shares` one each of those
 * that were seen. labels and answers index `classes`; -1 is the tray, or no answer yet.
 * @typedef {object} Lesson
 * @property {number} version
 * @property {boolean} current whether what was learned is of the folder as it is
 * @property {string} folder
 * @property {{name: string, images: number}[]} classes
 * @property {number[]} numbers
 * @property {number[]} labels
 * @property {string[]} digests
 * @property {number[]} answers
 * @property {number[]} shares probability of the answer
 * @property {number} waiting images that are not seen yet
 * @property {Record<string, string>} unreadable
 * @property {number[]} asked
 * @property {number[]} suspects
 * @property {number[]} unfamiliar
 * @property {{share: number, low: number, high: number, groups: number, known: boolean} | null} accuracy
 * @property {({what: string} & Record<string, string | number | null>) | null} undo
 */

/**
 * @typedef {object} Explained
 * @property {number | null} number
 * @property {{class: string, probability: number}[]} answers
 * @property {{class: string, scores: number[][], logit: number} | null} map
 * @property {{number: number, digest: string, class: string, cosine: number}[]} nearest
 * @property {boolean | null} unfamiliar
 */

/** An explained photograph and its picture. @typedef {Explained & {picture: Blob, body: Blob | null}} Tried */

/** @typedef {"move" | "remove" | "add-class" | "rename" | "merge" | "delete-class"} What */
/** @typedef {{what: What, images?: number[], label?: string | null, to?: string}} Action */

const BYTES = { "Content-Type": "application/octet-stream" };

/** @returns {Promise<Lesson>} */
export const fetchLesson = () => json("teach/state");

/** @param {number} after @param {AbortSignal} signal @returns {AsyncGenerator<{version: number}, void>} */
export const fetchVersions = (after, signal) => lines("teach/events" + query({ after }), { signal });

/** @returns {Promise<{points: {images: number, accuracy: number}[]}>} */
export const fetchCurve = () => json("teach/curve");

/** @param {Action} action @param {string} gesture */
export const postAction = (action, gesture) => json("teach/actions", {
  method: "POST", body: JSON.stringify({ ...action, gesture }), headers: { "Content-Type": "application/json" },
});

export const postUndo = () => json("teach/undo", { method: "POST" });

export const postRescan = () => json("teach/rescan", { method: "POST" });

/** @param {Blob} body @param {string} name @param {string | null} label @param {string} gesture
 * @param {AbortSignal} signal @returns {Promise<{number: number, label: string | null, present: boolean}>} */
export const postPhotograph = (body, name, label, gesture, signal) =>
  json("teach/images" + query({ name, label, gesture }), { method: "POST", body, headers: BYTES, signal });

/** @param {Blob} body @param {string | null} label @returns {Promise<Explained>} */
export const postTried = (body, label) =>
  json("teach/answers" + query({ label }), { method: "POST", body, headers: BYTES });

/** @param {number} number @param {string | null} label @returns {Promise<Explained>} */
export const fetchWhy = (number, label) => json(`teach/images/${number}/why` + query({ label }));

/** @param {number} number */
export const fetchSquare = async number => (await request(`teach/images/${number}/square`)).blob();

/** @param {number} number */
export const fetchThumbnail = async number => (await request(`teach/images/${number}/thumbnail`)).blob();

/** @param {"model" | "onnx" | "folder"} what */
export const fetchDownload = async what => (await request("teach/download/" + what)).blob();
