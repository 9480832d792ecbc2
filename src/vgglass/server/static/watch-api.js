// The /watch routes and the shapes of their answers: server/routes/watch.py, server/training.py, training/recording.py.
import { floats, json, lines, query, request } from "./http.js";

/** @typedef {keyof import("./words.js").Words["watch"]["experiments"]} Experiment */
/** @typedef {"digits" | "folder"} Data */
/** @typedef {"none" | "running" | "paused" | "finished" | "stopped" | "failed" | "recorded"} RunState */
/** @typedef {"pause" | "go" | "step" | "stop"} Command */
/** What the curves show of a point; a loss that is not finite is null.
 * @typedef {{step: number, loss: number | null, accuracy: number, dead: number}} Judged */

/**
 * @typedef {object} About what is the same for all points
 * @property {string[]} classes
 * @property {number} steps planned
 * @property {number} epoch_steps
 * @property {string[]} layers whose maps are recorded
 * @property {number[]} pinned labels
 * @property {number} judged validation images at each point
 * @property {number} learning_rate
 * @property {boolean} batch_norm
 * @property {number} image_size
 * @property {number} channels
 */

/**
 * @typedef {object} Status
 * @property {number} number of the run; 0 before the first
 * @property {Experiment} experiment
 * @property {Data} data
 * @property {RunState} state
 * @property {string} error
 * @property {string | null} folder that the server may train on
 * @property {About | null} about
 * @property {Judged[]} points
 * @property {number} done steps
 * @property {boolean} model whether there is a model file
 */

/** @typedef {Record<"weight" | "gradient" | "decay" | "momentum" | "before" | "velocity" | "rate" | "after", number>
 *   & {nesterov: boolean}} Update */
/** @typedef {{loss?: number | null, validation: {loss: number | null, accuracy: number}, dead: Record<string, number>,
 *   norm: number | null, update?: Update}} Numbers */
/** @typedef {{shape: number[], values: Float32Array | Int8Array | Uint8Array | Uint16Array}} Tensor */
/** @typedef {{step: number, numbers: Numbers, tensors: Record<string, Tensor>}} Point */

const RUNS = "watch/runs";

/** @param {Data} data @param {Experiment} experiment @returns {Promise<Status>} */
export const startRun = (data, experiment) => json(RUNS + query({ data, experiment }), { method: "POST" });

/** @param {Command} command @returns {Promise<Status>} */
export const sendCommand = command => json("watch/commands/" + command, { method: "POST" });

/** @param {AbortSignal} signal @returns {AsyncGenerator<Status, void>} */
export const fetchEvents = signal => lines("watch/events", { signal });

/** @param {number} run @param {number} after steps that are known */
export const fetchLosses = (run, after) => floats(`${RUNS}/${run}/losses` + query({ after }));

/** @param {number} run @param {number} step @returns {Promise<Point>} */
export async function fetchPoint(run, step) {
  const { metadata, tensors } = parsed(await (await request(`${RUNS}/${run}/points/${step}`)).arrayBuffer());
  return { step, numbers: JSON.parse(metadata.numbers), tensors };
}

/** The pinned images, (P, S, S, C) bytes. @param {number} run */
export const fetchPinned = async run =>
  parsed(await (await request(`${RUNS}/${run}/pinned`)).arrayBuffer()).tensors.pixels;

/** @param {number} run @returns {Promise<{name: string}>} */
export const openModel = run => json(`${RUNS}/${run}/open`, { method: "POST" });

/** @returns {Promise<{name: string}>} */
export const closeModel = () => json("watch/close", { method: "POST" });

/** @typedef {{dtype: string, shape: number[], data_offsets: [number, number]}} Entry */

/** The arrays of a safetensors file: a length of 8 bytes, a head of JSON, the data. @param {ArrayBuffer} file */
function parsed(file) {
  const length = Number(new DataView(file).getBigUint64(0, true)), start = 8 + length;
  /** @type {Record<string, Entry> & {__metadata__?: Record<string, string>}} */
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, length)));
  const { __metadata__: metadata = {}, ...entries } = head;
  /** @type {Record<string, Tensor>} */
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [first, end] }] of Object.entries(entries)) {
    const bytes = file.slice(start + first, start + end);
    if (dtype === "F32") tensors[name] = { shape, values: new Float32Array(bytes) };
    if (dtype === "I8") tensors[name] = { shape, values: new Int8Array(bytes) };
    if (dtype === "U8") tensors[name] = { shape, values: new Uint8Array(bytes) };
    if (dtype === "U16") tensors[name] = { shape, values: new Uint16Array(bytes) };
  }
  return { metadata, tensors };
}
