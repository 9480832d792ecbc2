// What a person touches on the course's cards: the photograph with a chosen place, numbers as coloured cells, bars.
import { bitmap, coloured } from "./colours.js";
import { ARROWS, clip, frame, sized } from "./element.js";
import { boxOnPhoto, inSquare } from "./geometry.js";
import { make } from "./ui.js";
import { number } from "./words.js";

/** @typedef {import("./store.js").Cell} Cell */
/** @typedef {import("./geometry.js").Box} Box */

const WIDE = 360, CELL = 32; // pixels
const STEP = 1 / 16; // of a side, an arrow key

/** The photograph; a place on it is chosen by a click or by the arrow keys, in pixels of the network's square.
 * @param {{bitmap: ImageBitmap, image: import("./api.js").ImageAnswer}} photo @param {number} size of that square
 * @param {string} label @param {Cell} place @param {(place: Cell) => void} choose
 * @param {(place: Cell) => Box[]} [boxes] framed, in the photograph's pixels
 * @param {(context: CanvasRenderingContext2D, square: Box) => void} [under] drawn on the photograph */
export function photograph(photo, size, label, place, choose, boxes = () => [], under = () => {}) {
  const { bitmap: picture, image } = photo, { width, height } = picture, scale = WIDE / Math.max(width, height);
  const canvas = make("canvas", { tabindex: 0, role: "application", "aria-label": label, class: "place" });
  const placement = image.placement ?? { top: 0, left: 0, rows: size, columns: size };
  const placed = { width, height, placement };
  const draw = () => {
    const context = sized(canvas, width * scale, height * scale);
    context.scale(scale, scale);
    context.drawImage(picture, 0, 0);
    under(context, boxOnPhoto(placed, { top: 0, left: 0, bottom: size, right: size }));
    for (const { top, left, bottom, right } of boxes(place)) {
      frame(context, left, top, right - left, bottom - top, 2 / scale);
    }
  };
  const moved = (/** @type {readonly number[]} */ [row, column]) => {
    place = [clip(Math.round(row), size), clip(Math.round(column), size)];
    draw();
    choose(place);
  };
  canvas.addEventListener("click", event => {
    const { top, left, width: across, height: down } = canvas.getBoundingClientRect();
    const point = [((event.clientY - top) / down) * height, ((event.clientX - left) / across) * width];
    moved(inSquare(placed, /** @type {[number, number]} */ (point)));
  });
  canvas.addEventListener("keydown", event => {
    const arrow = ARROWS.get(event.key);
    if (!arrow) return;
    event.preventDefault();
    moved(place.map((at, i) => at + arrow[i] * STEP * size));
  });
  draw();
  return canvas;
}

/** Numbers as coloured cells with their values in them.
 * @param {readonly (readonly number[])[]} rows @param {number} end of the colours @param {string} label
 * @param {(row: number, column: number) => boolean} [marked] which cells are framed */
export function cells(rows, end, label, marked = () => false) {
  const height = rows.length, width = rows[0].length, values = Float32Array.from(rows.flat());
  const spoken = rows.map(row => row.map(number).join(" ")).join("; ");
  const canvas = make("canvas", { role: "img", "aria-label": `${label}: ${spoken}` });
  const side = Math.min(CELL, Math.floor(WIDE / width)), context = sized(canvas, width * side, height * side);
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap(coloured(values, 0, values.length, end || 1, true), width, height), 0, 0, width * side,
    height * side);
  context.font = `${side > 28 ? 11 : 9}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const [row, line] of rows.entries()) {
    for (const [column, value] of line.entries()) {
      context.fillStyle = Math.abs(value) > 0.5 * end ? "#fff" : "#1d1b19";
      context.fillText(short(value), (column + 0.5) * side, (row + 0.5) * side);
      if (marked(row, column)) frame(context, column * side + 2, row * side + 2, side - 4, side - 4, 1);
    }
  }
  return canvas;
}

/** At most five characters. @param {number} value */
function short(value) {
  const size = Math.abs(value);
  return value.toFixed(size < 10 ? (Number.isInteger(value) ? 0 : 1) : 0).replace("-", "−");
}

/** One map of a layer. @param {Float32Array} values @param {number} width @param {number} height
 * @param {number} end of the colours @param {boolean} signed @param {string} label
 * @param {Box} [box] framed, in cells */
export function map(values, width, height, end, signed, label, box) {
  const zoom = Math.max(1, Math.floor(WIDE / Math.max(width, height)));
  const canvas = make("canvas", { role: "img", "aria-label": label });
  const context = sized(canvas, width * zoom, height * zoom);
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap(coloured(values, 0, width * height, end || 1, signed), width, height), 0, 0, width * zoom,
    height * zoom);
  if (box) {
    const { top, left, bottom, right } = box;
    frame(context, left * zoom, top * zoom, (right - left) * zoom, (bottom - top) * zoom);
  }
  return canvas;
}

/** @param {readonly {name: string, value: number, text: string}[]} rows largest magnitude as wide as the track */
export function bars(rows) {
  const most = Math.max(...rows.map(row => Math.abs(row.value)), 1e-30);
  return make("div", { class: "bars" }, ...rows.flatMap(({ name, value, text }) => {
    const bar = make("div", { class: value < 0 ? "fill negative" : "fill" });
    bar.style.width = (100 * Math.abs(value)) / most + "%";
    return [make("span", {}, name), make("div", { class: "track" }, bar), make("span", {}, text)];
  }));
}

/** @param {string} label @param {number} most @param {number} value @param {(value: number) => void} moved
 * @param {number} [least] @param {number} [step] */
export function slider(label, most, value, moved, least = 0, step = 1) {
  const input = make("input", { type: "range", min: least, max: most, step, value, "aria-label": label });
  input.addEventListener("input", () => moved(Number(input.value)));
  return make("div", { class: "slider" }, input);
}
