// Tiles of a grid of maps: how they are laid out, and the bar that marks an important channel.
import { get } from "./store.js";

/** @typedef {import("./store.js").Maps} Maps */
/** beside: pixels from a map to its parent's, 0 for none.
 * @typedef {{zoom: number, gap: number, caption: number, columns: number, beside: number}} Layout */
/** @typedef {{width: number, height: number}} Size of a map in numbers */

const GAP = 4, CAPTION = 17, SMALLEST = 40, CELL = 12, LARGE_CELL = 30, MARK = 3, PAIR = 2; // CSS pixels
const LARGEST = 88; // side of one of many maps, in CSS pixels
const FEW = 24; // classes whose numbers have room for a name each

/** Many 1x1 maps as bare cells; others at least SMALLEST pixels wide, with a caption.
 * @param {Size} size @param {number} channels @param {number} available pixels of width
 * @param {boolean} paired whether each has its parent's beside it @returns {Layout} */
export function arranged({ width }, channels, available, paired) {
  const room = Math.max(240, available - 4), maps = paired ? 2 : 1;
  if (width === 1 && channels > FEW) {
    const fitting = Math.floor(Math.sqrt((room * LARGE_CELL * 8) / channels / maps));
    const zoom = Math.max(CELL, Math.min(LARGE_CELL, fitting)), gap = paired ? GAP : 1;
    const columns = Math.min(channels, Math.floor(room / (zoom * maps + gap)));
    return { zoom, gap, caption: 0, columns, beside: paired ? zoom : 0 };
  }
  const few = width === 1 ? LARGEST : channels < 9 ? Math.min(200, room / 3 / maps - GAP) / width : 0;
  const zoom = few || Math.min(LARGEST / width, Math.max(1, Math.ceil(SMALLEST / width)));
  const beside = paired ? width * zoom + PAIR : 0;
  const gap = paired ? 2 * GAP : GAP, across = width * zoom + beside + gap;
  const columns = Math.min(channels, Math.max(4 - maps, Math.floor(room / across)));
  return { zoom, gap, caption: CAPTION, columns, beside };
}

/** Distance between tiles, horizontal and vertical. @param {Layout} layout @param {Size} size */
export function pitch({ zoom, gap, caption, beside }, { width, height }) {
  return [width * zoom + beside + gap, height * zoom + gap + caption];
}

/** The bar above a map, `length` pixels long. @param {CanvasRenderingContext2D} context
 * @param {number} left @param {number} top of the map @param {number} length */
export function mark(context, left, top, length) {
  context.fillStyle = "#7a8290";
  if (length > 0) context.fillRect(left, top - MARK - 1, Math.max(1, length), MARK);
}

/** Each channel's share of the layer's importance; null until known, and where its channels reach no ReLU.
 * @param {import("./api.js").Layer} layer */
export const sharesOf = ({ origin }) => get().importance?.shares[origin ?? ""] ?? null;
