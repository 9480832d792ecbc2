// The input of the selected cell: the preceding map with the window on it.
import { fetchMaps } from "./api.js";
import { bitmap, coloured } from "./colours.js";
import { context2d, frame, PageElement } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { words } from "./words.js";

const LARGE = 336;

class InputMap extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["step", "layer", "language"];
  #canvas = this.child("#before", HTMLCanvasElement);
  /** The last fetched map, reused while only the cell changes. */
  #fetched = { key: "", values: new Float32Array() };

  async update() {
    const { step, image, model, layer: open } = get();
    if (open === "image") this.hidden = true;
    if (!step || step.layer !== open || !image || !model?.glass) return;
    const before = model.layers[model.layers.findIndex(each => each.name === step.layer) - 1];
    const [width, height] = before.shape, channel = inputChannel(step);
    this.hidden = width === 1 || step.kind === "linear";
    if (this.hidden) return;
    const key = [image.id, before.name, channel].join(" ");
    if (this.#fetched.key !== key) {
      const values = await fetchMaps(image, before.name, channel);
      if (step !== get().step || image !== get().image) return;
      this.#fetched = { key, values };
    }
    this.#draw(width, height, step);
    const label = fill(words.inputLabel, { layer: before.name, channel });
    this.#canvas.setAttribute("aria-label", label);
    this.child("#beforeSaid", HTMLElement).textContent = label;
  }

  /** @param {number} width @param {number} height @param {import("./api.js").Step} step */
  #draw(width, height, step) {
    const { values } = this.#fetched, signed = values.some(value => value < 0);
    const end = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
    const zoom = Math.max(1, Math.floor(LARGE / Math.max(width, height)));
    this.#canvas.width = width * zoom;
    this.#canvas.height = height * zoom;
    const context = context2d(this.#canvas), { top, left, side } = inputWindow(step);
    context.imageSmoothingEnabled = false;
    const picture = bitmap(coloured(values, 0, values.length, end, signed), width, height);
    context.drawImage(picture, 0, 0, this.#canvas.width, this.#canvas.height);
    frame(context, left * zoom, top * zoom, side * zoom, side * zoom);
  }
}

/** The input channel with the largest sum, for a convolution. @param {import("./api.js").Step} step */
function inputChannel(step) {
  if (step.kind !== "conv") return step.channel;
  const sums = step.terms.channel_sums;
  return sums.reduce((best, sum, i) => (Math.abs(sum) > Math.abs(sums[best]) ? i : best), 0);
}

/** @param {import("./api.js").Step} step */
function inputWindow(step) {
  if (step.kind === "conv" || step.kind === "maxpool" || step.kind === "avgpool") {
    return { top: step.terms.top, left: step.terms.left, side: step.terms.values[0].length };
  }
  return { top: step.position[0], left: step.position[1], side: 1 };
}

customElements.define("input-map", InputMap);
