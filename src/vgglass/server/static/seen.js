// What the chosen cell, and one cell of its window, see of the photograph.
import { receptiveField } from "./geometry.js";
import { get } from "./store.js";

/** @typedef {import("./geometry.js").Box} Box in the photograph's pixels */

/** @param {import("./api.js").Layer} layer @param {import("./store.js").Cell} cell @returns {Box | null} */
function field(layer, cell) {
  const { photo, image, model } = get();
  if (!photo?.image.placement || image !== photo.image || !model?.glass) return null;
  const { width, height } = photo.bitmap;
  return receptiveField({ width, height, placement: photo.image.placement }, model.size, layer, cell);
}

/** The field of the cell chosen or pointed at. */
export function shownField() {
  const { position } = get();
  return position && field(position.layer, position.cell);
}

/** The field of the window's cell under the pointer: of the layer before. */
export function litField() {
  const { lit, step, model } = get(), window = step && windowOf(step);
  if (!lit || !step || !window || !model?.glass) return null;
  const before = model.layers[model.layers.findIndex(each => each.name === step.layer) - 1];
  return field(before, [window.top + lit[0], window.left + lit[1]]);
}

/** Where a step's window lies on the layer before; null for a step that takes all of it.
 * @param {import("./api.js").Step} step */
export function windowOf(step) {
  if (step.kind === "conv" || step.kind === "maxpool" || step.kind === "avgpool") {
    return { top: step.terms.top, left: step.terms.left, side: step.terms.values[0].length };
  }
  if (step.kind === "linear") return step.terms.places && { top: 0, left: 0, side: step.terms.places.length };
  return { top: step.position[0], left: step.position[1], side: 1 };
}

/** The input channel that is shown: the chosen one, or the one that adds most.
 * @param {import("./api.js").Step} step */
export function shownInput(step) {
  const sums = sumsOf(step), { inputChannel } = get();
  if (!sums) return step.channel;
  if (inputChannel !== null && inputChannel < sums.length) return inputChannel;
  return sums.reduce((best, sum, i) => (Math.abs(sum) > Math.abs(sums[best]) ? i : best), 0);
}

/** What each input channel adds to a step's sum; null for a step of one channel.
 * @param {import("./api.js").Step} step */
export const sumsOf = step => (step.kind === "conv" || step.kind === "linear" ? step.terms.channel_sums : null);
