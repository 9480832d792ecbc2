// The network's square and the photograph in it: a module on the server's page, inlined into that of `look`.

/** In pixels; bottom and right are exclusive. @typedef {Record<"top" | "left" | "bottom" | "right", number>} Box */
/** Where a photograph lies in the network's square.
 * @typedef {Record<"top" | "left" | "rows" | "columns", number>} Placement */
/** @typedef {{width: number, height: number, placement: Placement}} Placed a photograph in its own pixels */
/** @typedef {Record<"receptive_field" | "jump" | "first_centre", number>} Field of a layer */

/** @param {Placed} photo @param {number} row of the network's square @param {number} column */
function onPhoto({ width, height, placement }, row, column) {
  return [((row - placement.top) * height) / placement.rows, ((column - placement.left) * width) / placement.columns];
}

/** @param {Placed} photo @param {Box} box in the network's square @returns {Box} */
export function boxOnPhoto(photo, box) {
  const [top, left] = onPhoto(photo, box.top, box.left), [bottom, right] = onPhoto(photo, box.bottom, box.right);
  return { top, left, bottom, right };
}

/** Row and column in the network's square of a point of the photograph.
 * @param {Placed} photo @param {readonly [row: number, column: number]} point */
export function inSquare({ width, height, placement }, [row, column]) {
  return [(row * placement.rows) / height + placement.top, (column * placement.columns) / width + placement.left];
}

/** @param {Box} box */
export const isEmpty = box => box.left >= box.right || box.top >= box.bottom;

/** The receptive field of a position, mapped back through crop and resize to the photograph and clipped, as
 * `ReceptiveField.box` and `glass.on_original` compute it.
 * @param {Placed} photo @param {number} size of the network's square @param {Field} layer
 * @param {readonly [row: number, column: number]} position @returns {Box} */
export function receptiveField(photo, size, layer, position) {
  const clip = (/** @type {number} */ x, /** @type {number} */ most) => Math.min(Math.max(x, 0), most);
  const reach = layer.receptive_field / 2;
  const [row, column] = position.map(place => layer.first_centre + layer.jump * place);
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
