// User actions that affect several elements: selecting an image, layer, cell or set of ablated channels.
import { fetchModel, fetchPicture, fetchSample, fetchWalk, postImage, predict } from "./api.js";
import { setPalettes } from "./colours.js";
import { attempt, tell } from "./failures.js";
import { Refused } from "./http.js";
import { keepPhoto, keptPhoto } from "./kept-photos.js";
import { get, patch } from "./store.js";

/** @typedef {{channel: number | null, cell: import("./store.js").Cell | null}} Chosen */

/** @type {Chosen} */
const STRONGEST = { channel: null, cell: null };
/** What belongs to the image before. @type {Partial<import("./store.js").State>} */
const NOTHING = {
  ablated: new Set(), target: null, against: null, position: null, field: null, importance: null, attribution: null,
  classMap: null, classMapCell: null, scores: null, scoreCell: null, lit: null, summaries: [], failures: {},
};

/** The request for an image under way: only the latest counts. */
let latest = new AbortController();

/** Fetch the server's current model. */
export async function loadModel() {
  const model = await fetchModel(), { layer, method } = get();
  if (!model.glass) return patch({ model });
  setPalettes(model.palettes);
  patch({
    model,
    layer: model.layers.some(each => each.name === layer) ? layer : "conv1_1",
    method: method && model.methods.includes(method) ? method : model.head === "pooled" ? "class-map" : "gradcam",
  });
}

/** Upload an image. It is shown at once; the one before it and its answer go only when it is answered.
 * @param {Blob | ArrayBuffer} body @param {string} [sample] its name; '' for a person's own @param {Chosen} [chosen] */
export async function putImage(body, sample = "", chosen = STRONGEST) {
  latest.abort();
  const { signal } = (latest = new AbortController()), began = performance.now();
  let settled = false;
  patch({ awaited: null, problem: "" });
  tell("photo", undefined);
  createImageBitmap(new Blob([body])).then(
    awaited => signal.aborted || settled || patch({ awaited }),
    () => {}, // what this browser can't decode, the server may
  );
  const glass = get().model?.glass, image = await attempt("photo", () => (glass ? postImage : predict)(body));
  if (signal.aborted) return;
  if (!image) {
    settled = true;
    return patch({ awaited: null });
  }
  if (image.digest !== get().model?.digest) await attempt("photo", loadModel);
  if (signal.aborted) return;
  performance.mark("answered");
  patch({ ...NOTHING, ...chosen, body, sample, image, latency: performance.now() - began });
  if (glass && !sample) keepPhoto(image.id, body).catch(() => {}); // a browser may forbid storage: it is a comfort
  if (glass) followWalk(image, signal);
  await attempt("photo", async () => {
    const bitmap = await createImageBitmap(glass ? await fetchPicture(image) : new Blob([body]));
    if (signal.aborted) return;
    settled = true;
    patch({ photo: { bitmap, image }, awaited: null });
  });
}

/** Take in each layer as the server has computed it. @param {import("./api.js").ImageAnswer} image
 * @param {AbortSignal} signal */
const followWalk = (image, signal) => attempt("photo", async () => {
  for await (const computed of fetchWalk(image, signal)) {
    if (image !== get().image) return;
    patch({ summaries: [...get().summaries, ...computed] });
  }
});

/** @param {string} sample its name @param {Chosen} [chosen] */
export async function putSample(sample, chosen) {
  latest.abort();
  const { signal } = (latest = new AbortController()), body = await attempt("photo", () => fetchSample(sample));
  if (body && !signal.aborted) await putImage(body, sample, chosen);
}

/** Put what an address names: a sample, or one of the person's own photographs; whether it was still there.
 * @param {string} name @param {Chosen} [chosen] */
export async function putNamed(name, chosen) {
  const { model } = get();
  if (model?.glass && model.samples.includes(name)) {
    await putSample(name, chosen);
    return true;
  }
  const body = await keptPhoto(name).catch(() => null);
  if (body) await putImage(body, "", chosen);
  return Boolean(body);
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

/** @param {string} layer @param {Chosen} [chosen] */
export function openLayer(layer, chosen = STRONGEST) {
  if (layer !== get().layer) patch({ layer, ...chosen, position: null, field: null, lit: null, inputChannel: null });
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
