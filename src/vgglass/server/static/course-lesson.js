// A card of the course on a photograph: the layers and numbers that its texts, gestures and answers are about.
import { fetchSoftmax, fetchStages, fetchStep } from "./api.js";
import { boxOnPhoto } from "./geometry.js";

/** @typedef {import("./api.js").GlassModel} Model */
/** @typedef {import("./api.js").Layer} Layer */
/** @typedef {import("./api.js").Kind} Kind */
/** @typedef {import("./store.js").Cell} Cell */

/**
 * @typedef {object} Lesson
 * @property {Model} model
 * @property {import("./api.js").ImageAnswer} image
 * @property {{bitmap: ImageBitmap, image: import("./api.js").ImageAnswer}} photo
 * @property {readonly import("./api.js").LayerSummary[]} summaries
 * @property {Cell} place chosen on the photograph, in pixels of the network's square
 * @property {number | null} chosen on a slider or among buttons; null at first
 * @property {boolean} checked whether the guess was made: then the truth may be seen
 * @property {AbortSignal} signal aborted when the card is left
 * @property {() => void} redraw
 */

/** @param {Model} model @param {...Kind} kinds */
export const ofKind = ({ layers }, ...kinds) => layers.filter(({ kind }) => kinds.includes(kind));

/** The last convolution of each block. @param {Model} model @returns {Layer[]} */
export const lastOfBlocks = model =>
  ofKind(model, "maxpool").flatMap(pool => upTo(model, pool).findLast(({ kind }) => kind === "conv") ?? []);

/** The last of them that is not deeper than the third block. @param {Model} model */
export function middle(model) {
  const found = lastOfBlocks(model);
  return found[Math.min(2, found.length - 1)];
}

/** The ReLU before the last pooling. @param {Model} model @returns {Layer} */
export function lastRelu(model) {
  const found = upTo(model, ofKind(model, "maxpool").at(-1)).findLast(({ kind }) => kind === "relu");
  return found ?? model.layers[0];
}

/** @param {Model} model @param {Layer | undefined} layer */
const upTo = ({ layers }, layer) => (layer ? layers.slice(0, layers.indexOf(layer)) : layers);

/** The layer before. @param {Model} model @param {Layer} layer */
export const before = ({ layers }, layer) => layers[layers.indexOf(layer) - 1];

/** @param {Lesson} lesson @param {string} layer */
export const strongest = ({ summaries }, layer) => summaries.find(each => each.name === layer)?.strongest ?? 0;

/** The cell of a layer whose receptive field lies around a place.
 * @param {Layer} layer @param {Cell} place @returns {Cell} */
export function cellAt({ shape: [width, height], jump, first_centre: first }, [row, column]) {
  const nearest = (/** @type {number} */ at, /** @type {number} */ count) =>
    Math.min(count - 1, Math.max(0, Math.round((at - first) / jump)));
  return [nearest(row, height), nearest(column, width)];
}

/** The first convolution's number at the chosen place. @param {Lesson} lesson */
export async function firstConvolution(lesson) {
  const [layer] = ofKind(lesson.model, "conv"), channel = strongest(lesson, layer.name);
  const step = await fetchStep(lesson.image, layer.name, channel, cellAt(layer, lesson.place), lesson.signal);
  if (step.kind !== "conv") throw new TypeError(layer.name + " is no convolution");
  return step;
}

/** The window of the first pooling in the chosen column, at the height of the chosen place. @param {Lesson} lesson */
export async function firstPooling(lesson) {
  const [pool] = ofKind(lesson.model, "maxpool"), [row, middle] = cellAt(pool, lesson.place);
  const column = lesson.chosen ?? middle;
  const step = await fetchStep(lesson.image, pool.name, strongest(lesson, pool.name), [row, column], lesson.signal);
  if (step.kind !== "maxpool") throw new TypeError(pool.name + " is no pooling");
  return step;
}

/** Where the network looked for its answer, once computed. @param {Lesson} lesson */
export async function gradCam({ image, signal }) {
  let found;
  for await (const stage of fetchStages(image, "gradcam", image.top[0].index, null, signal)) found = stage;
  if (!found) throw new TypeError("no stage of Grad-CAM");
  return found;
}

/** The likeliest classes at temperature 1, as training has them. @param {Lesson} lesson */
export const logits = async ({ image }) => (await fetchSoftmax(image, 1, image.top[0].index)).rows;

/** How many they have altogether. @param {readonly Layer[]} layers */
export const parameters = layers => layers.reduce((sum, layer) => sum + layer.parameters, 0);

/** The network's square on the photograph, in the photograph's pixels. @param {Lesson} lesson */
export function squareOnPhoto({ photo, model: { size } }) {
  const { bitmap: { width, height }, image } = photo, whole = { top: 0, left: 0, rows: size, columns: size };
  const placed = { width, height, placement: image.placement ?? whole };
  return boxOnPhoto(placed, { top: 0, left: 0, bottom: size, right: size });
}

/** The share of the photograph that lies outside of the square. @param {Lesson} lesson */
export function unseen(lesson) {
  const { width, height } = lesson.photo.bitmap, { top, left, bottom, right } = squareOnPhoto(lesson);
  const rows = Math.min(bottom, height) - Math.max(top, 0), columns = Math.min(right, width) - Math.max(left, 0);
  return 1 - (rows * columns) / (width * height);
}
