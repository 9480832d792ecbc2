// The pinned images: some maps of two layers, and what the network answers, at the playhead.
import { byId, PageElement } from "./element.js";
import { get } from "./store.js";
import { fill, make } from "./ui.js";
import { mapImage, pinnedImage, sized } from "./watch-canvas.js";
import { percent, words } from "./words.js";

const CELL = 44, GAP = 4, LAYERS = [0, 1];

/** @typedef {{canvas: HTMLCanvasElement, said: HTMLElement, bar: HTMLElement}} Row */

class WatchImages extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["watch", "language", "view"];
  #box = this.child("#watchImages", HTMLElement);
  /** @type {Row[]} */
  #rows = [];

  update() {
    const { watch: { status, point, pinned }, view } = get(), told = words.watch;
    byId("watch-images-title", HTMLElement).textContent = told.images;
    if (!status?.about || !point || !pinned || view !== "watch") return;
    const { about } = status;
    byId("watchImagesNote", HTMLElement).textContent =
      fill(told.imagesNote, { first: about.layers[0], second: about.layers[1] });
    if (this.#rows.length !== about.pinned.length) this.#build(about.pinned.length);
    const { shape: [, classes], values } = point.tensors.probabilities;
    for (const [index, row] of this.#rows.entries()) {
      this.#draw(row.canvas, index, point, pinned);
      const shares = Array.from(values.subarray(index * classes, (index + 1) * classes), x => x || 0);
      const best = shares.indexOf(Math.max(...shares)), label = about.pinned[index], right = best === label;
      const share = percent(shares[best]);
      row.said.textContent = right
        ? fill(told.right, { answer: about.classes[best], share })
        : fill(told.wrong, { answer: about.classes[best], truth: about.classes[label], share });
      row.bar.style.width = `${100 * shares[best]}%`;
      row.bar.classList.toggle("wrong", !right);
      row.canvas.setAttribute("aria-label", fill(told.imageLabel, { truth: about.classes[label] }));
    }
  }

  /** @param {number} count */
  #build(count) {
    this.#rows = Array.from({ length: count }, () => ({
      canvas: make("canvas", { role: "img" }), said: make("span"), bar: make("div", { class: "fill" }),
    }));
    this.#box.replaceChildren(...this.#rows.map(({ canvas, said, bar }) =>
      make("div", { class: "pinned" }, canvas, make("div", {}, said, make("div", { class: "track" }, bar)))));
  }

  /** The picture, then the maps of the first layer, then those of the second; as many as there is room for.
   * @param {HTMLCanvasElement} canvas @param {number} index @param {import("./watch-api.js").Point} point
   * @param {import("./watch-api.js").Tensor} pinned */
  #draw(canvas, index, { tensors }, pinned) {
    const room = Math.floor(((canvas.parentElement?.clientWidth ?? 560) - GAP) / (CELL + GAP));
    const shown = Math.max(1, Math.min(tensors.maps0.shape[1], Math.floor((room - 1) / LAYERS.length)));
    const context = sized(canvas, (1 + LAYERS.length * shown) * (CELL + GAP) + GAP, CELL);
    context.drawImage(pinnedImage(pinned, index), 0, 0, CELL, CELL);
    for (const layer of LAYERS) {
      const maps = tensors[`maps${layer}`], count = maps.shape[1];
      for (let channel = 0; channel < Math.min(shown, count); channel++) {
        const left = (1 + layer * shown + channel) * (CELL + GAP) + layer * GAP;
        context.drawImage(mapImage(maps, index * count + channel), left, 0, CELL, CELL);
      }
    }
  }
}

customElements.define("watch-images", WatchImages);
