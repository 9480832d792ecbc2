// The kernels of the first layer at the playhead: three input channels are their colours, one is red and blue.
import { bitmap, coloured } from "./colours.js";
import { byId, PageElement } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { sized } from "./watch-canvas.js";
import { number, words } from "./words.js";

const SIDE = 42, GAP = 5; // pixels

class WatchKernels extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["watch", "language", "view"];
  #canvas = this.child("#watchKernels", HTMLCanvasElement);

  update() {
    const { watch: { point }, view } = get(), told = words.watch;
    byId("watch-kernels-title", HTMLElement).textContent = told.kernels;
    if (!point || view !== "watch") return;
    const { shape: [count, channels, height, width], values } = point.tensors.kernels;
    const room = Math.max(240, this.clientWidth);
    const columns = Math.max(1, Math.min(count, Math.floor(room / (SIDE + GAP)))), rows = Math.ceil(count / columns);
    const context = sized(this.#canvas, columns * (SIDE + GAP), rows * (SIDE + GAP));
    for (let index = 0; index < count; index++) {
      const size = channels * height * width, image = picture(values, index * size, channels, height, width);
      const [left, top] = [(index % columns) * (SIDE + GAP), Math.floor(index / columns) * (SIDE + GAP)];
      context.drawImage(image, left, top, SIDE, SIDE);
    }
    const said = fill(told.kernelsNote, { count, height, width, norm: number(point.numbers.norm) });
    byId("watchKernelsNote", HTMLElement).textContent = said;
    this.#canvas.setAttribute("aria-label", said);
  }
}

/** One kernel (c, k, k), scaled to its own largest weight; zero is the middle.
 * @param {ArrayLike<number>} values @param {number} start @param {number} channels
 * @param {number} height @param {number} width */
function picture(values, start, channels, height, width) {
  const count = height * width;
  let end = 1e-12;
  for (let i = 0; i < channels * count; i++) end = Math.max(end, Math.abs(values[start + i]));
  if (channels !== 3) return bitmap(coloured(values, start, count, end, true), width, height);
  const pixels = Uint32Array.from({ length: count }, (_, i) => {
    const [red, green, blue] = [0, 1, 2].map(c => Math.round(128 + (127 * values[start + c * count + i]) / end));
    return 0xff000000 | (blue << 16) | (green << 8) | red;
  });
  return bitmap(pixels, width, height);
}

customElements.define("watch-kernels", WatchKernels);
