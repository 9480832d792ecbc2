// The input of the selected cell: the map of one channel of the layer before, with the window on it.
import { fetchMaps } from "./api.js";
import { bitmap, coloured } from "./colours.js";
import { frame, PageElement, pictureSides, sized } from "./element.js";
import { attempt } from "./failures.js";
import { shownInput, windowOf } from "./seen.js";
import { get, patch, touches } from "./store.js";
import { fill } from "./ui.js";
import { words } from "./words.js";

class InputMap extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["step", "layer", "language", "inputChannel", "inputMap", "lit"];
  #canvas = this.child("#before", HTMLCanvasElement);
  /** The last fetched map, reused while only the cell changes. */
  #fetched = { key: "", values: new Float32Array() };
  #request = new AbortController();

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { step, image, model, layer: open, inputMap } = get();
    if (open === "image") this.hidden = true;
    if (!step || step.layer !== open || !image || !model?.glass) return;
    const before = model.layers[model.layers.findIndex(each => each.name === step.layer) - 1];
    const [width, height] = before.shape, channel = shownInput(step);
    this.hidden = width === 1;
    if (this.hidden) return;
    if (touches(changed, "step", "inputChannel", "layer")) {
      const key = [image.id, before.name, channel].join(" ");
      if (this.#fetched.key !== key) {
        this.#request.abort();
        const { signal } = (this.#request = new AbortController());
        const values = await attempt("step", () => fetchMaps(image, before.name, { channel, signal }));
        if (!values || step !== get().step || image !== get().image) return;
        this.#fetched = { key, values: before.name === "image" ? normalised(values, channel, model.input) : values };
      }
      patch({ inputMap: { step, layer: before.name, channel, values: this.#fetched.values, width, height } });
    } else if (inputMap?.step === step) {
      this.#draw(inputMap);
    }
  }

  /** @param {import("./store.js").InputMap} map */
  #draw({ step, layer, channel, values, width, height }) {
    const signed = values.some(value => value < 0), { lit } = get();
    const end = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
    const zoom = pictureSides().map / Math.max(width, height);
    const context = sized(this.#canvas, width * zoom, height * zoom);
    context.imageSmoothingEnabled = false;
    const picture = bitmap(coloured(values, 0, values.length, end, signed), width, height);
    context.drawImage(picture, 0, 0, width * zoom, height * zoom);
    const window = windowOf(step);
    if (window) {
      const { top, left, side } = window, least = Math.max(side * zoom, 5);
      frame(context, left * zoom, top * zoom, least, least);
      if (lit) frame(context, (left + lit[1]) * zoom, (top + lit[0]) * zoom, Math.max(zoom, 3), Math.max(zoom, 3), 1);
    }
    const label = fill(layer === "image" ? words.inputOfImage : words.inputLabel, { layer, channel });
    this.#canvas.setAttribute("aria-label", label);
    this.child("#beforeSaid", HTMLElement).textContent = label;
  }
}

/** A colour of the image as the network takes it in. @param {Float32Array} values @param {number} channel
 * @param {import("./api.js").GlassModel["input"]} input */
const normalised = (values, channel, { mean, std }) => values.map(value => (value - mean[channel]) / std[channel]);

customElements.define("input-map", InputMap);
