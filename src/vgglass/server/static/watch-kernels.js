// The kernels of the first layer at the playhead: three input channels are their colours, one is red and blue.
import { bitmap, coloured } from "./colours.js";
import { byId, PageElement } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { sized } from "./watch-canvas.js";
import { number, words } from "./words.js";

const COLUMNS = 8, SIDES = [28, 64], GAP = 5; // side of a kernel in pixels: between these

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
    const side = Math.max(SIDES[0], Math.min(SIDES[1], Math.floor(room / COLUMNS) - GAP)), pitch = side + GAP;
    const columns = Math.min(count, Math.floor(room / pitch)), rows = Math.ceil(count / columns);
    const context = sized(this.#canvas, columns * pitch, rows * pitch);
    for (let index = 0; index < count; index++) {
      const size = channels * height * width, image = picture(values, index * size, channels, height, width);
      context.drawImage(image, (index % columns) * pitch, Math.floor(index / columns) * pitch, side, side);
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
