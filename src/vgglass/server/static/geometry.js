// Coordinates of the network's square, its cells and receptive fields on the photograph, in the photograph's pixels.

/** @typedef {{top: number, left: number, bottom: number, right: number}} Box */
/** A photograph and where it lies in the network's square.
 * @typedef {{width: number, height: number, placement: import("./api.js").Placement}} Placed */

/** @param {Placed} photo @param {number} row of the network's square @param {number} column */
function onPhoto({ width, height, placement }, row, column) {
  return [((row - placement.top) * height) / placement.rows, ((column - placement.left) * width) / placement.columns];
}

/** @param {Placed} photo @param {Box} box in the network's square @returns {Box} */
export function boxOnPhoto(photo, box) {
  const [top, left] = onPhoto(photo, box.top, box.left), [bottom, right] = onPhoto(photo, box.bottom, box.right);
  return { top, left, bottom, right };
}

/** @param {Box} box */
export const isEmpty = box => box.left >= box.right || box.top >= box.bottom;

/** A cell of the grid that divides the network's square. @param {import("./store.js").Cell} cell @param {number} side
 * @returns {Box} */
export const cellBox = ([row, column], side) => ({
  top: row * side, left: column * side, bottom: (row + 1) * side, right: (column + 1) * side,
});

/** Row and column in the network's square of a point of the photograph.
 * @param {Placed} photo @param {import("./store.js").Cell} point */
export function inSquare({ width, height, placement }, [row, column]) {
  return [(row * placement.rows) / height + placement.top, (column * placement.columns) / width + placement.left];
}

/** The receptive field of a position, mapped back through crop and resize to the photograph and clipped.
 * @param {Placed} photo @param {number} size of the network's square @param {import("./store.js").Position} position
 * @returns {Box} */
export function receptiveField(photo, size, { layer, cell }) {
  const clip = (/** @type {number} */ x, /** @type {number} */ most) => Math.min(Math.max(x, 0), most);
  const reach = layer.receptive_field / 2;
  const [row, column] = cell.map(index => layer.first_centre + layer.jump * index);
  const box = boxOnPhoto(photo, {
    top: clip(row - reach, size), left: clip(column - reach, size),
    bottom: clip(row + reach, size), right: clip(column + reach, size),
  });
  const { width, height } = photo;
  return {
    top: clip(box.top, height), left: clip(box.left, width),
    bottom: clip(box.bottom, height), right: clip(box.right, width),
  };
}

/** The square that a sliding classifier covers at a position of its map.
 * @param {Placed} photo @param {import("./api.js").Scores} scores @param {import("./store.js").Cell} cell
 * @returns {Box} */
export function scoreBox(photo, { step, side, height, width }, [row, column]) {
  const down = photo.height / height, across = photo.width / width;
  return {
    top: row * step * down, left: column * step * across,
    bottom: (row * step + side) * down, right: (column * step + side) * across,
  };
}
