// The operation of the open layer in a sentence: what is multiplied, and what is summed when.
import { PageElement } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { words } from "./words.js";

class OperationView extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "layer", "language"];
  #text = this.child("#operationSaid", HTMLElement);

  update() {
    const { model, layer: open } = get(), layers = model?.glass ? model.layers : [];
    const at = layers.findIndex(each => each.name === open), layer = layers[at], before = layers[at - 1];
    if (!model?.glass || !layer) return;
    const spatial = layer.kind === "linear" && before.shape[0] > 1;
    const text = words.operationsSaid[spatial ? "head" : layer.kind];
    const [width, , channels] = (before ?? layer).shape;
    const side = spatial ? width : layer.kernel;
    this.#text.textContent = fill(text, {
      side, channels, count: (side * side * channels).toLocaleString("en"), outputs: layer.shape[2],
    });
  }
}

customElements.define("operation-view", OperationView);
