// Colour mapping with the same palettes as the server's pictures.
import { context2d, sized } from "./element.js";

const COLOURS = 224;
const LEVELS = 127;
/** @type {Record<string, Uint32Array>} */
const palettes = {};

/** @param {string} text base64 */
const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));

/** @param {Record<string, string>} given red, green and blue of each colour, in base64 */
export function setPalettes(given) {
  for (const [name, text] of Object.entries(given)) {
    const rgb = bytes(text);
    palettes[name] = Uint32Array.from(
      { length: COLOURS },
      (_, i) => 0xff000000 | (rgb[3 * i + 2] << 16) | (rgb[3 * i + 1] << 8) | rgb[3 * i],
    );
  }
}

/** Zero is the first colour, or the middle one if signed.
 * @param {ArrayLike<number>} values @param {number} start @param {number} count
 * @param {number} end of the scale @param {boolean} signed */
export function coloured(values, start, count, end, signed) {
  const palette = palettes[signed ? "signed" : "positive"], last = COLOURS - 1, colours = new Uint32Array(count);
  const slope = signed ? last / 2 / end : last / end, shift = (signed ? last / 2 : 0) + 0.5;
  for (let i = 0; i < count; i++) {
    colours[i] = palette[Math.max(0, Math.min(last, Math.floor(values[start + i] * slope + shift))) || 0];
  }
  return colours;
}

/** @param {Uint32Array<ArrayBuffer>} colours @param {number} width @param {number} height */
export function bitmap(colours, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  context2d(canvas).putImageData(new ImageData(new Uint8ClampedArray(colours.buffer), width, height), 0, 0);
  return canvas;
}

/** From −127 to 127, row by row. @param {import("./api.js").Picture} picture */
export const levels = picture => new Int8Array(bytes(picture.levels).buffer);

/** Levels from −127 to 127 in the palette's colours. @param {import("./api.js").Picture} picture */
export function heat(picture) {
  const values = levels(picture);
  return bitmap(coloured(values, 0, values.length, LEVELS, picture.signed), picture.width, picture.height);
}

/** The same as an overlay: opacity increases with the level, zero is transparent.
 * @param {import("./api.js").Picture} picture */
export function glow(picture) {
  const colours = Uint32Array.from(levels(picture), level => ((2 * level) << 24) | 0x00d4ff);
  return bitmap(colours, picture.width, picture.height);
}

/** @param {HTMLCanvasElement} canvas
 * @param {readonly string[]} labels of the left end, the middle, the right end @param {boolean} signed */
export function drawLegend(canvas, labels, signed) {
  const [width, height] = [200, 30], context = sized(canvas, width, height), ink = getComputedStyle(canvas).color;
  const ramp = Float32Array.from({ length: width }, (_, i) => (signed ? (2 * i) / (width - 1) - 1 : i / (width - 1)));
  context.drawImage(bitmap(coloured(ramp, 0, width, 1, signed), width, 1), 0, 0, width, 14);
  context.fillStyle = ink;
  context.font = "13px system-ui, sans-serif";
  for (const [i, side] of /** @type {const} */ (["left", "center", "right"]).entries()) {
    context.textAlign = side;
    context.fillText(labels[i], (i * width) / 2, height - 4);
  }
  canvas.setAttribute("aria-label", labels.filter(Boolean).join(" … "));
}

/** A number's colour, and the one of black and white that can be read on it.
 * @param {number} value @param {number} end of the scale @param {boolean} signed */
export function paint(value, end, signed) {
  const [colour] = coloured([value], 0, 1, end || 1, signed);
  const [red, green, blue] = [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
  const light = [red, green, blue].map(each => (each / 255) ** 2.2);
  const luminance = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2];
  return { back: `rgb(${red} ${green} ${blue})`, ink: luminance > 0.18 ? "#000" : "#fff" };
}
