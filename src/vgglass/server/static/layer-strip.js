// The network as a strip of blocks, from the image to the softmax.
import { openLayer } from "./actions.js";
import { address } from "./address.js";
import { heat } from "./colours.js";
import { byId, context2d, PageElement } from "./element.js";
import { get, touches } from "./store.js";
import { fill, make } from "./ui.js";
import { percent, sides, words } from "./words.js";

/** @type {Record<import("./api.js").Kind, string>} */
const COLOURS = {
  image: "#888", conv: "#1a5fd0", batchnorm: "#0e8a8a", relu: "#d9730d", lrn: "#0e8a8a", maxpool: "#7a3fc2",
  avgpool: "#a0378c", linear: "#14713d", dropout: "#888", softmax: "#b3261e",
};
const THUMBNAIL = 56;

class LayerStrip extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "sample", "summaries", "layer", "maps"];
  #strip = this.child("#strip", HTMLElement);
  /** The layer opened here, to be focused once rendered. */
  #focused = "";

  /** @param {import("./store.js").Changed} changed */
  update(changed) {
    const { model, layer, maps, summaries } = get();
    if (!model?.glass) return;
    if (touches(changed, "model", "language", "sample")) {
      this.#strip.replaceChildren(...model.layers.map(each => this.#block(each)));
    }
    if (touches(changed, "model", "language", "sample", "summaries")) {
      for (const summary of summaries) this.#describe(summary);
    }
    for (const block of this.querySelectorAll("a")) {
      block.setAttribute("aria-current", String(block.dataset.layer === layer));
    }
    if (this.#focused && this.#focused === maps?.layer.name) {
      byId("opened", HTMLElement).focus();
      this.#focused = "";
    }
  }

  /** @param {import("./api.js").Layer} layer */
  #block({ name, kind, shape }) {
    const block = make("a", {
      href: address(name), "data-layer": name, title: words.kinds[kind],
      onclick: event => {
        event.preventDefault();
        openLayer(name);
        if (get().maps?.layer.name === name) byId("opened", HTMLElement).focus();
        else this.#focused = name;
      },
    });
    const canvas = make("canvas", { width: THUMBNAIL, height: THUMBNAIL, "aria-hidden": "true" });
    block.append(canvas, make("span", {}, name), make("small", {}, sides(shape)));
    block.style.setProperty("--kind", COLOURS[kind]);
    return block;
  }

  /** The layer's strongest map and statistics. @param {import("./api.js").LayerSummary} summary */
  #describe({ name, thumbnail, strongest, dead, zeros }) {
    const block = this.querySelector(`a[data-layer="${CSS.escape(name)}"]`), { model } = get();
    const canvas = block?.querySelector("canvas");
    const layer = model?.glass && model.layers.find(each => each.name === name);
    if (!block || !canvas || !layer) return;
    const context = context2d(canvas);
    context.imageSmoothingEnabled = false;
    context.drawImage(heat(thumbnail), 0, 0, THUMBNAIL, THUMBNAIL);
    const parts = [words.kinds[layer.kind], fill(words.strongest, { channel: strongest })];
    if (dead) parts.push(fill(words.zeros, { share: percent(zeros) }));
    block.setAttribute("title", parts.join(" · "));
  }
}

customElements.define("layer-strip", LayerStrip);
