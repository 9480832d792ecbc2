// Drawing for the watch view: canvases sharp at any devicePixelRatio, and what the curves share.
import { bitmap, coloured } from "./colours.js";
import { context2d } from "./element.js";

/** Size a canvas in CSS pixels and clear it; the context draws in those. @param {HTMLCanvasElement} canvas
 * @param {number} width @param {number} height */
export function sized(canvas, width, height) {
  const ratio = devicePixelRatio || 1, context = context2d(canvas);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.imageSmoothingEnabled = false;
  context.font = "12px system-ui, sans-serif";
  return context;
}

/** The value of a custom property of the page. @param {string} name */
export const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** One map of a tensor (…, H, W) of levels from −127 to 127, as an image.
 * @param {import("./watch-api.js").Tensor} tensor @param {number} index */
export function mapImage({ shape, values }, index) {
  const [height, width] = shape.slice(-2), count = height * width;
  return bitmap(coloured(values, index * count, count, 127, true), width, height);
}

/** A pinned image of bytes (P, S, S, C). @param {import("./watch-api.js").Tensor} pinned @param {number} index */
export function pinnedImage({ shape: [, height, width, channels], values }, index) {
  const pixels = new Uint32Array(height * width), start = index * height * width * channels;
  for (let i = 0; i < pixels.length; i++) {
    const [red, green, blue] = [0, 1, 2].map(c => values[start + i * channels + Math.min(c, channels - 1)]);
    pixels[i] = 0xff000000 | (blue << 16) | (green << 8) | red;
  }
  return bitmap(pixels, width, height);
}
