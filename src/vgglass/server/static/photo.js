// The photograph, and what is laid over it: a heat map, the glow and box of what a position sees, the places of a classifier.
import { glow, heat } from "./colours.js";
import { at, fill, percent, say, together } from "./words.js";

const LARGEST = 900, BESIDE = 336;  // pixels of the longer side of the large canvas, and of the one beside a map

/** @type {{picture: ImageBitmap | null, image: any, size: number, heat: any, glow: any, box: any, scores: any, place: any, cell: any}} */
const shown = { picture: null, image: null, size: 0, heat: null, glow: null, box: null, scores: null, place: null, cell: null };

/** @param {ImageBitmap} picture @param {any} image what POST /glass/images answered, or null while it is awaited @param {number} size of the network's square */
export function showPhoto(picture, image, size) {
  Object.assign(shown, { picture, image, size, box: null, glow: null, cell: null });
  draw();
}

/** What lies over the photograph; null takes it away. @param {Partial<typeof shown>} what */
export function lay(what) {
  Object.assign(shown, what);
  draw();
}

/** Row and column of the network's square as a place on the original, in its pixels. @param {number} row @param {number} column */
function original(row, column) {
  const { width, height, placement } = shown.image;
  return [(row - placement.top) * height / placement.rows, (column - placement.left) * width / placement.columns];
}

/** A square of the network's input, the place (row, column) of those laid side by side, on the original. @param {number} row @param {number} column @param {number} side */
export function cellBox(row, column, side) {
  const [top, left] = original(row * side, column * side), [bottom, right] = original((row + 1) * side, (column + 1) * side);
  return { top, left, bottom, right };
}

/** Row and column of the network's square under the pointer. @param {PointerEvent} event */
export function squareAt(event) {
  const frame = at("photo").getBoundingClientRect(), { placement, width, height } = shown.image;
  const row = (event.clientY - frame.top) / frame.height * height, column = (event.clientX - frame.left) / frame.width * width;
  return [row * placement.rows / height + placement.top, column * placement.columns / width + placement.left];
}

/** What a position of a layer sees: through crop and resize on the original, cut to it. @param {any} layer @param {number} row @param {number} column */
export function sees(layer, row, column) {
  const clip = (x, most) => Math.min(Math.max(x, 0), most), reach = layer.receptive_field / 2, { width, height } = shown.image;
  const centre = place => layer.first_centre + layer.jump * place;
  const [top, left] = original(clip(centre(row) - reach, shown.size), clip(centre(column) - reach, shown.size));
  const [bottom, right] = original(clip(centre(row) + reach, shown.size), clip(centre(column) + reach, shown.size));
  return { top: clip(top, height), left: clip(left, width), bottom: clip(bottom, height), right: clip(right, width) };
}

/** @param {any} layer @param {number} row @param {number} column */
export function showSeen(layer, row, column) {
  if (!shown.image) return;
  const box = sees(layer, row, column), empty = box.left >= box.right || box.top >= box.bottom;
  lay({ box: empty ? null : box });
  at("seen").textContent = fill(empty ? say.seesPadding : say.sees, layer.name, row, column, layer.receptive_field, layer.receptive_field);
  at("seen").dataset.box = [box.top, box.left, box.bottom, box.right].map(x => x.toFixed(3)).join(",");
}

/** @param {any} field @param {any} layer */
export function showGlow(field, layer) {
  lay({ glow: glow(field) });
  at("seen").textContent = together(at("seen").textContent, fill(say.effective, field.side, field.side, layer.receptive_field));
}

function draw() {
  if (!shown.picture) return;
  drawOn(at("photo"), LARGEST);
  if (shown.image) drawOn(at("beside"), BESIDE);
}

/** @param {HTMLCanvasElement} canvas @param {number} most pixels of its longer side */
function drawOn(canvas, most) {
  const { picture, image } = shown;
  const width = image ? image.width : picture.width, height = image ? image.height : picture.height;
  const scale = Math.max(1, Math.floor(240 / Math.max(width, height))) * Math.min(1, most / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = scale < 1;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (!image) return;
  const opacity = at("opacity").value / 100;
  context.scale(canvas.width / width, canvas.height / height);
  const [top, left] = original(0, 0), [bottom, right] = original(shown.size, shown.size);
  context.imageSmoothingEnabled = true;
  if (shown.heat) {
    context.globalAlpha = opacity;
    context.drawImage(shown.heat, left, top, right - left, bottom - top);
    context.globalAlpha = 1;
  }
  if (shown.scores) drawScores(context, opacity);
  if (shown.glow && !shown.scores) context.drawImage(shown.glow, left, top, right - left, bottom - top);
  const thick = 3 * width / canvas.width;
  if (shown.box && !shown.scores) frame(context, shown.box, thick);
  if (shown.cell && !shown.scores) frame(context, shown.cell, thick);
  if (shown.scores && shown.place) frame(context, covered(shown.place), thick);
}

function frame(context, box, thick) {
  for (const [colour, line] of [["#000", 2 * thick], ["#ffd400", thick]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  }
}

/** The square that the classifier stands on at a place of its map, in pixels of the original. @param {number[]} place */
function covered([row, column]) {
  const { step, side, height, width } = shown.scores, down = shown.image.height / height, across = shown.image.width / width;
  return { top: row * step * down, left: column * step * across, bottom: (row * step + side) * down, right: (column * step + side) * across };
}

/** Each place as a cell around the middle of its square. */
function drawScores(context, opacity) {
  const { probabilities, step, side, height, width } = shown.scores, rows = probabilities.length, columns = probabilities[0].length;
  const picture = heat(shown.scores.picture), down = shown.image.height / height, across = shown.image.width / width;
  const first = side / 2 - step / 2;
  context.globalAlpha = opacity;
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, first * across, first * down, columns * step * across, rows * step * down);
  context.globalAlpha = 1;
}

/** The place of the class-score map that is nearest to a point of the canvas. @param {PointerEvent} event */
export function scorePlace(event) {
  if (!shown.scores || !shown.image) return;
  const frame = at("photo").getBoundingClientRect(), { probabilities, likeliest, names, side, step, height, width } = shown.scores;
  const nearest = (share, whole, count) => Math.min(count - 1, Math.max(0, Math.round((share * whole - side / 2) / step)));
  const row = nearest((event.clientY - frame.top) / frame.height, height, probabilities.length);
  const column = nearest((event.clientX - frame.left) / frame.width, width, probabilities[0].length);
  lay({ place: [row, column] });
  at("seen").textContent = fill(say.slidePlace, row, column, shown.scores.class, percent(probabilities[row][column]), names[likeliest[row][column]]);
}

export const redraw = draw;
