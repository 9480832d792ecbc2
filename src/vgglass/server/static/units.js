// The layers as a person counts them: a convolution with its norm and ReLU is one, dropout is folded away.

/** @typedef {import("./api.js").Layer} Layer */

/** A convolution, pooling or fully connected layer with all that follows it elementwise; `number` counts those with
 * weights, null for others. @typedef {{name: string, layers: Layer[], number: number | null}} Unit */

/** @typedef {object} Block
 * @property {number | null} number null for the image and the head
 * @property {Unit[]} units
 * @property {number} convolutions
 * @property {number} connected fully connected layers
 * @property {boolean} pooled whether a pooling is in it
 * @property {readonly number[]} shape W, H, C of its convolutions */

const ELEMENTWISE = ["batchnorm", "relu", "lrn", "dropout"];

/** @param {readonly Layer[]} layers @returns {Unit[]} */
export function unitsOf(layers) {
  /** @type {Unit[]} */
  const units = [];
  let count = 0;
  for (const layer of layers) {
    if (ELEMENTWISE.includes(layer.kind)) units[units.length - 1].layers.push(layer);
    else {
      const number = layer.kind === "conv" || layer.kind === "linear" ? ++count : null;
      units.push({ name: layer.name, layers: [layer], number });
    }
  }
  return units;
}

/** The unit that a layer belongs to. @param {readonly Layer[]} layers @param {string} name */
export function unitOf(layers, name) {
  const units = unitsOf(layers);
  return units.find(unit => unit.layers.some(each => each.name === name)) ?? units[0];
}

/** The image, a block for each pooling, and the head. @param {readonly Layer[]} layers @returns {Block[]} */
export function blocksOf(layers) {
  /** @type {Unit[][]} */
  const groups = [[]];
  for (const unit of unitsOf(layers)) {
    groups[groups.length - 1].push(unit);
    const [{ kind }] = unit.layers;
    if (kind === "image" || kind === "maxpool") groups.push([]);
  }
  return groups.map((units, i) => {
    const kinds = units.map(unit => unit.layers[0].kind), count = (/** @type {string} */ kind) =>
      kinds.filter(each => each === kind).length;
    return {
      number: count("conv") ? i : null, units, convolutions: count("conv"), connected: count("linear"),
      pooled: count("maxpool") + count("avgpool") > 0, shape: units[0].layers[0].shape,
    };
  });
}
