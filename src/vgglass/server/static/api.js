// The server's routes and the shapes of their answers, as server/routes/glass_json.py makes them.
import { floats, json, lines, query, request } from "./http.js";

/** @typedef {import("./words.js").Kind} Kind */
/** @typedef {{engine: string, precision: string, views: string}} Settings */
/** @typedef {{width: number, height: number, signed: boolean, end: number, levels: string}} Picture levels: base64 */

/** What the parent has beside a layer of a shrunk model: its name there, the numbers there of the layer's own channels
 * in their order, and of those that were removed.
 * @typedef {{layer: string, kept: number[], removed: number[]}} Kin */

/**
 * @typedef {object} Layer
 * @property {string} name
 * @property {Kind} kind
 * @property {[width: number, height: number, channels: number]} shape
 * @property {number} parameters
 * @property {number} receptive_field
 * @property {number} jump
 * @property {number} first_centre
 * @property {number} kernel
 * @property {number} stride
 * @property {number} padding
 * @property {string | null} origin the convolution or fully connected layer that its channels come from
 * @property {Kin | null} parent
 */

/**
 * @typedef {object} GlassModel a model whose layers can be looked into
 * @property {true} glass
 * @property {string} name
 * @property {import("./store.js").View[]} views that the server has
 * @property {Settings} settings
 * @property {boolean} card whether it has one
 * @property {string} digest
 * @property {string} architecture
 * @property {"vgg" | "pooled"} head
 * @property {string} head_layer
 * @property {import("./words.js").Method[]} methods
 * @property {import("./words.js").Method[]} layered_methods those of them that look at one layer
 * @property {string[]} classes
 * @property {number | null} temperature
 * @property {number} size of the network's square
 * @property {{order: "L" | "RGB" | "BGR", mean: number[], std: number[]}} input what is taken off each channel, and
 *   what it is divided by
 * @property {Layer[]} layers
 * @property {Record<string, string>} palettes
 * @property {string[]} samples
 */

/** @typedef {{glass: false, missing: string, name: string, views: import("./store.js").View[], settings: Settings,
 *   card: boolean, digest: string}} PredictingModel */
/** @typedef {GlassModel | PredictingModel} Model */

/** @typedef {{index: number, class: string, probability: number}} Ranked */

/**
 * @typedef {object} Answer
 * @property {string} digest of the model that gave it
 * @property {Ranked[]} top
 * @property {boolean} [unsure]
 * @property {boolean} [unfamiliar]
 * @property {number} [distance]
 */
/** A training image; its picture, if it is at hand, as a data URI.
 * @typedef {{class: string, similarity: number, picture: string | null}} Known */
/** @typedef {import("./geometry.js").Placement} Placement */
/** @typedef {{id: string, width: number, height: number, placement: Placement | null}} Placed */
/** @typedef {Answer & Settings & Placed} ImageAnswer */

/** @typedef {Record<"minimum" | "mean" | "maximum" | "zeros" | "strongest", number> & {name: string}} Figures */
/** @typedef {Figures & {dead: number[] | null, thumbnail: Picture}} LayerSummary */

/**
 * @typedef {object} ChannelFigures one number a channel; ends: of its own colour scale
 * @property {number[]} ends
 * @property {number[]} minima
 * @property {number[]} means
 * @property {number[]} maxima
 * @property {number[]} zeros_each
 * @property {number[]} by_activation
 */
/** @typedef {Figures & ChannelFigures & {dead: number[] | null}} LayerFigures */

/** @typedef {{values: number[][][], inside: boolean[][], top: number, left: number}} Window */
/** @typedef {{result: number, winner: [number, number] | null}} Pooling */
/** @typedef {Record<"channel" | "row" | "column" | "input" | "weight" | "product", number>} Contribution */
/** A channel of pool5 before fc6.
 * @typedef {{channel: number} & Record<"values" | "kernel" | "products", number[][]>} Kernel */

/** The arithmetic of one number, by the layer's kind.
 * @typedef {object} Terms
 * @property {Window & {kernel: number[][][], products: number[][][], channel_sums: number[],
 *   sum: number, bias: number}} conv
 * @property {Window & {poolings: Record<"max" | "min" | "avg", Pooling>}} maxpool
 * @property {Window & {total: number, count: number}} avgpool
 * @property {{before: string, count: number, largest: Contribution[], rest: number, positive: number,
 *   negative: number, sum: number, bias: number, channel_sums: number[] | null, places: number[][] | null,
 *   windows: Kernel[] | null}} linear
 * @property {{logit: number, largest: number, exponential: number, total: number}} softmax
 * @property {{x: number}} relu
 * @property {{x: number}} dropout
 * @property {{x: number, mean: number, variance: number, epsilon: number, scale: number, shift: number}} batchnorm
 * @property {{x: number, squares: number, divisor: number, first: number, neighbours: number[]}} lrn
 */

/**
 * @typedef {object} StepFigures
 * @property {string} layer
 * @property {number} channel
 * @property {[number, number]} position
 * @property {number} recomputed
 * @property {number} network
 * @property {number} difference
 * @property {number} bound
 * @property {boolean} agrees
 * @property {{layer: string, recomputed: number, network: number} | null} after what a ReLU makes of it
 */
/** @template {keyof Terms} K @typedef {StepFigures & {kind: K, terms: Terms[K]}} StepOf */
/** @typedef {{[K in keyof Terms]: StepOf<K>}[keyof Terms]} Step */

/** @typedef {"logit" | "scaled" | "shifted" | "exponential" | "probability"} SoftmaxTerm */
/** @typedef {Record<SoftmaxTerm, number> & {class: string}} SoftmaxRow */
/** @typedef {{total: number, rows: SoftmaxRow[]}} Softmax */
/** @typedef {Picture & {side: number}} Field */
/** @typedef {Picture & {layer: string | null, class: string}} Attribution */
/** An attribution on its way: after `done` of `total` passes.
 * @typedef {Attribution & {done: number, total: number}} Stage */
/** @typedef {{channel: number, move: number, winner: number}} Effect of silencing a channel */
/** @typedef {{index: number, class: string, before: number, after: number}} AblatedRow */
/** Shares of a layer's importance, a number a channel, by the layer that the channels come from.
 * @typedef {{target: number, class: string, shares: Record<string, number[]>}} Importance */
/** A class's probability in the parent, and without the removed channels of a layer, and of all layers.
 * @typedef {Record<"before" | "without" | "withoutAll", number> & {class: string}} Removal */

/**
 * @typedef {object} ClassMap
 * @property {number[][]} scores one a place of pool5
 * @property {number} bias
 * @property {number} logit
 * @property {number} bound
 * @property {string} class
 * @property {string | null} other that it is compared with
 * @property {Picture} picture
 * @property {number} cell pixels a side of the network's square that a place stands on
 */

/**
 * @typedef {object} Scores of a classifier that slides over an image of height × width
 * @property {string} class
 * @property {number} height
 * @property {number} width
 * @property {number} side of the square that it stands on
 * @property {number} step
 * @property {number[][]} probabilities
 * @property {number[][]} likeliest
 * @property {Record<number, string>} names
 * @property {Picture} picture
 * @property {number} largest
 * @property {number} mean
 * @property {{layer: string, input: number[], outputs: number, difference: number, largest: number}} both
 */

const IMAGES = "glass/images/";
const BYTES = { "Content-Type": "application/octet-stream" };

/** @typedef {{id: string}} Id of an image that the server keeps */

/** @returns {Promise<Model>} */
export const fetchModel = () => json("glass/model");

/** @param {string} name */
export const fetchSample = async name => (await request("glass/samples/" + name)).arrayBuffer();

/** @param {Blob | ArrayBuffer} body @returns {Promise<ImageAnswer>} */
export const postImage = body => json(IMAGES.slice(0, -1), { method: "POST", body, headers: BYTES });

/** The same for a server that can't show layers.
 * @param {Blob | ArrayBuffer} body @returns {Promise<ImageAnswer>} */
export async function predict(body) {
  /** @type {{images: Omit<Answer, "digest">[], model: Settings & {digest: string}}} */
  const { images, model } = await json("predict", { method: "POST", body, headers: BYTES });
  const top = images[0].top.map((row, index) => ({ ...row, index }));
  return { ...images[0], ...model, top, id: "", width: 0, height: 0, placement: null };
}

/** @param {Id} image */
export const fetchPicture = async image => (await request(IMAGES + image.id + "/picture")).blob();

/** The training images that are nearest; none where the model keeps no features. @param {Id} image
 * @returns {Promise<{known: Known[]}>} */
export const fetchKnown = image => json(IMAGES + image.id + "/known");

/** Every layer as it is computed. @param {Id} image @param {AbortSignal} signal
 * @returns {AsyncGenerator<LayerSummary[], void>} */
export const fetchWalk = (image, signal) => lines(IMAGES + image.id + "/walk", { signal });

/** @param {Id} image @param {string} layer @param {AbortSignal} signal @returns {Promise<LayerFigures>} */
export const fetchLayer = (image, layer, signal) => json(IMAGES + image.id + "/layers/" + layer, { signal });

/** @param {Id} image @param {string} layer @param {{channel?: number, signal?: AbortSignal}} [options] all channels
 *   without one */
export const fetchMaps = (image, layer, { channel, signal } = {}) =>
  floats(IMAGES + image.id + "/maps/" + layer + query({ channel }), { signal });

/** @param {Id} image @param {string} layer of the parent @returns {Promise<LayerFigures>} */
export const fetchParentLayer = (image, layer) => json(IMAGES + image.id + "/parent/layers/" + layer);

/** @param {Id} image @param {string} layer of the parent */
export const fetchParentMaps = (image, layer) => floats(IMAGES + image.id + "/parent/maps/" + layer);

/** @param {Id} image @param {number | null} target @returns {Promise<Importance>} */
export const fetchImportance = (image, target) => json(IMAGES + image.id + "/importance" + query({ target }));

/** @param {Id} image @param {number} target @returns {Promise<Importance>} */
export const fetchParentImportance = (image, target) =>
  json(IMAGES + image.id + "/parent/importance" + query({ target }));

/** @param {Id} image @param {string} layer of the parent @param {number} target @returns {Promise<Removal>} */
export const fetchRemoval = (image, layer, target) =>
  json(IMAGES + image.id + "/parent/removed/" + layer + query({ target }));

/** @param {Id} image @returns {Promise<{limit: number}>} */
export const fetchLimit = image => json(IMAGES + image.id + "/limit");

/** @param {Id} image @param {string} layer @param {number} channel @param {import("./store.js").Cell} cell
 * @param {AbortSignal} signal @returns {Promise<Step>} */
export const fetchStep = (image, layer, channel, [row, column], signal) =>
  json(IMAGES + image.id + "/steps/" + layer + query({ channel, row, column }), { signal });

/** @param {Id} image @param {number} temperature @param {number} channel @returns {Promise<Softmax>} */
export const fetchSoftmax = (image, temperature, channel) =>
  json(IMAGES + image.id + "/softmax" + query({ temperature, channel }));

/** @param {Id} image @param {string} layer @param {import("./store.js").Cell} cell @param {AbortSignal} signal
 * @returns {Promise<Field>} */
export const fetchField = (image, layer, [row, column], signal) =>
  json(IMAGES + image.id + "/fields/" + layer + query({ row, column }), { signal });

/** After `done` of `total` steps; with the last one, patches and an image as PNG in base64.
 * @typedef {{done: number, total: number, patches?: {name: string, value: number, png: string}[], png?: string}}
 *   Preference */

/** @param {Id} image @param {string} layer @param {number} channel @param {AbortSignal} signal
 * @returns {AsyncGenerator<Preference, void>} */
export const fetchPreference = (image, layer, channel, signal) =>
  lines(IMAGES + image.id + "/preferences/" + layer + query({ channel }), { signal });

/** @param {Id} image @param {string} method @param {number | null} target @param {string | null} layer of Grad-CAM
 * @param {AbortSignal} signal @returns {AsyncGenerator<Stage, void>} */
export const fetchStages = (image, method, target, layer, signal) =>
  lines(IMAGES + image.id + "/attributions/" + method + "/stages" + query({ target, layer }), { signal });

/** @param {Id} image @param {number} target @param {number | null} against @returns {Promise<ClassMap>} */
export const fetchClassMap = (image, target, against) =>
  json(IMAGES + image.id + "/class-map" + query({ target, against }));

/** @param {Id} image @param {number} target @param {AbortSignal} signal @returns {Promise<Scores>} */
export const fetchScores = (image, target, signal) =>
  json(IMAGES + image.id + "/scores" + query({ target }), { signal });

/** @param {Id} image @param {string} layer @param {AbortSignal} signal @returns {AsyncGenerator<Effect[], void>} */
export const fetchEffects = (image, layer, signal) => lines(IMAGES + image.id + "/effects/" + layer, { signal });

/** After `done` of `total` layers; with the last one, the rows.
 * @typedef {{done: number, total: number, rows?: AblatedRow[]}} Ablated */

/** @param {Id} image @param {readonly string[]} channels as 'conv3_2:17' @param {AbortSignal} signal
 * @returns {AsyncGenerator<Ablated, void>} */
export function fetchAblation(image, channels, signal) {
  const names = channels.map(name => "channels=" + encodeURIComponent(name));
  return lines(IMAGES + image.id + "/without/stages?" + names.join("&"), { signal });
}

/** The playground's input: an image's pixels, or fixed integers.
 * @param {number} size @param {Id | null} image @returns {Promise<{values: number[][]}>} */
export const fetchNumbers = (size, image) =>
  json("glass/playground" + query({ size, kernel: 1, stride: 1, image: image && image.id }));
