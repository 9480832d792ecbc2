// Pooling and convolution of a few numbers, as vgglass.glass.playground computes them.

/** @typedef {"max" | "min" | "avg" | "conv"} Operation */
/** @typedef {{kernel: number, stride: number, padding: number, dilation: number}} Geometry */

/**
 * @typedef {object} Window the input of one output
 * @property {number} top in the input; negative in the padding, as is `left`
 * @property {number} left
 * @property {number[][]} values zero in the padding
 * @property {boolean[][]} inside false in the padding
 */

/**
 * @typedef {object} Result
 * @property {"window" | "padding" | null} problem a window larger than the padded input, or one that could lie wholly
 *   in the padding
 * @property {number} span side of the dilated kernel
 * @property {number} room side of the padded input
 * @property {string} formula of the output's side with its numbers
 * @property {number[][]} outputs empty if there is a problem
 */

const BLUR = [[1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16], [1 / 16, 2 / 16, 1 / 16]];

/** The convolution's kernel: a blur for side 3, an average for others. @param {number} side */
export function weights(side) {
  return side === BLUR.length ? BLUR : square(side, () => 1 / side ** 2);
}

/** Size of one side of the output. @param {number} side @param {Geometry} geometry */
export function outputSide(side, { kernel, stride, padding, dilation }) {
  return Math.floor((side + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1;
}

/** @param {number[][]} values the input (n, n) @param {Operation} operation @param {Geometry} geometry
 * @returns {Result} */
export function compute(values, operation, geometry) {
  const { kernel, stride, padding, dilation } = geometry, size = values.length, side = outputSide(size, geometry);
  const windows = square(Math.max(side, 0), (row, column) => windowAt(values, geometry, row, column));
  const covered = windows.flat().every(({ inside }) => inside.flat().some(Boolean));
  const poolable = operation === "conv" || (2 * padding <= kernel && covered);
  const problem = !poolable ? "padding" : side < 1 ? "window" : null;
  const outputs = problem ? [] : windows.map(row => row.map(window => outputOf(window, operation)));
  const formula = `⌊(${size} + 2×${padding} − ${dilation}×(${kernel} − 1) − 1) / ${stride}⌋ + 1 = ${side}`;
  return { problem, span: dilation * (kernel - 1) + 1, room: size + 2 * padding, formula, outputs };
}

/** @param {number[][]} values @param {Geometry} geometry @param {number} row of the output @param {number} column
 * @returns {Window} */
export function windowAt(values, { kernel, stride, padding, dilation }, row, column) {
  const top = row * stride - padding, left = column * stride - padding;
  const value = (/** @type {number} */ i, /** @type {number} */ j) => values[top + i * dilation]?.[left + j * dilation];
  return {
    top, left,
    values: square(kernel, (i, j) => value(i, j) ?? 0),
    inside: square(kernel, (i, j) => value(i, j) !== undefined),
  };
}

/** @param {Window} window @param {Operation} operation */
export function outputOf({ values, inside }, operation) {
  const all = values.flat(), real = all.filter((_, i) => inside.flat()[i]);
  switch (operation) {
    case "max": return Math.max(...real);
    case "min": return Math.min(...real);
    case "avg": return sum(all) / all.length;
    case "conv": return sum(weights(values.length).flat().map((weight, i) => weight * all[i]));
  }
}

/** Row and column in the window of its largest or smallest number, the first of equals; null for what has none.
 * @param {Window} window @param {Operation} operation @returns {[number, number] | null} */
export function winner(window, operation) {
  if (operation !== "max" && operation !== "min") return null;
  const best = outputOf(window, operation), { values, inside } = window;
  const index = values.flat().findIndex((value, i) => value === best && inside.flat()[i]);
  return [Math.floor(index / values.length), index % values.length];
}

/** @param {readonly number[]} values */
const sum = values => values.reduce((total, value) => total + value, 0);

/** @template T @param {number} side @param {(row: number, column: number) => T} value */
const square = (side, value) =>
  Array.from({ length: side }, (_, row) => Array.from({ length: side }, (_, column) => value(row, column)));
