// User actions that affect several elements: selecting an image, layer, cell or set of ablated channels.
import { fetchModel, fetchPicture, fetchSample, fetchSummaries, postImage, predict } from "./api.js";
import { setPalettes } from "./colours.js";
import { Refused } from "./http.js";
import { get, patch } from "./store.js";

/** @typedef {{channel: number | null, cell: import("./store.js").Cell | null}} Chosen */

/** @type {Chosen} */
const STRONGEST = { channel: null, cell: null };

/** Numbers the requests for an image; only the latest response is used. */
let latest = 0;

/** Fetch the server's current model. */
export async function loadModel() {
  const model = await fetchModel(), { layer, method } = get();
  if (!model.glass) return patch({ model });
  setPalettes(model.palettes);
  const preferred = model.methods.includes("class-map") ? "class-map" : "";
  patch({
    model,
    layer: model.layers.some(each => each.name === layer) ? layer : "conv1_1",
    method: method === "" || (method && model.methods.includes(method)) ? method : preferred,
  });
}

/** Upload an image.
 * @param {Blob | ArrayBuffer} body @param {string} [sample] its name; '' for a person's own @param {Chosen} [chosen] */
export async function putImage(body, sample = "", chosen = STRONGEST) {
  const turn = ++latest, began = performance.now();
  patch({
    body, sample, ...chosen, problem: "", image: null, latency: 0, ablated: new Set(), target: null, against: null,
    position: null, field: null, importance: null, attribution: null, classMap: null,
    classMapCell: null, scores: null, scoreCell: null,
  });
  try {
    const glass = get().model?.glass, image = await (glass ? postImage : predict)(body);
    if (turn !== latest) return;
    if (image.digest !== get().model?.digest) await loadModel();
    if (turn !== latest) return;
    patch({ image, latency: performance.now() - began });
    performance.mark("answered");
    const [picture, summaries] = glass
      ? await Promise.all([fetchPicture(image), fetchSummaries(image)])
      : [new Blob([body]), []];
    const bitmap = await createImageBitmap(picture);
    if (turn === latest) patch({ photo: { bitmap, image }, summaries });
  } catch (error) {
    if (turn !== latest) return;
    if (!(error instanceof Refused)) throw error;
    patch({ problem: error.message });
  }
}

/** @param {string} sample its name @param {Chosen} [chosen] */
export async function putSample(sample, chosen) {
  const turn = ++latest;
  patch({ sample });
  const body = await fetchSample(sample);
  if (turn === latest) await putImage(body, sample, chosen);
}

/** Upload the image of this path again after the server evicted it; whether it succeeded. @param {string} path */
export async function restoreImage(path) {
  const { image, body, sample, model } = get();
  if (!image?.id || !path.includes(image.id) || !body) return false;
  const again = await postImage(body);
  if (again.digest === model?.digest) return true;
  putImage(body, sample); // the model was replaced: start again with the new one
  throw new Refused(404, "replaced", "");
}

/** @param {string} layer */
export function openLayer(layer) {
  if (layer !== get().layer) patch({ layer, ...STRONGEST });
}

/** Select a cell of a channel's map, by default the maximum.
 * @param {number} channel @param {import("./store.js").Cell | null} [cell] */
export function chooseCell(channel, cell) {
  const { maps, layer } = get();
  if (!maps || maps.layer.name !== layer) return;
  cell ??= largest(channelMap(maps, channel), maps.width);
  patch({ channel, cell, position: { layer: maps.layer, cell } });
}

/** Hover over a cell of the open layer. @param {import("./store.js").Cell} cell */
export function pointAt(cell) {
  const { maps, layer } = get();
  if (maps && maps.layer.name === layer) patch({ position: { layer: maps.layer, cell }, field: null });
}

/** @param {string} channel as 'conv3_2:17' */
export function toggleAblation(channel) {
  const ablated = new Set(get().ablated);
  if (!ablated.delete(channel)) ablated.add(channel);
  patch({ ablated });
}

/** @param {import("./store.js").Maps} maps @param {number} channel */
export function channelMap({ values, width, height }, channel) {
  return values.subarray(channel * width * height, (channel + 1) * width * height);
}

/** @param {Float32Array} values @param {number} width @returns {import("./store.js").Cell} */
function largest(values, width) {
  const index = values.reduce((best, value, i) => (value > values[best] ? i : best), 0);
  return [Math.floor(index / width), index % width];
}
