// The parent's map of the chosen channel, for a shrunk model, with the same cell framed.
import { bitmap, coloured } from "./colours.js";
import { frame, PageElement, pictureSides, sized } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { number, words } from "./words.js";

class ParentMap extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["maps", "channel", "cell", "language"];
  #canvas = this.child("#parentMap", HTMLCanvasElement);

  update() {
    const { maps, channel, cell } = get();
    this.hidden = !maps?.parent || channel === null || !cell;
    if (!maps?.parent || channel === null || !cell) return;
    const { width, height, signed, parent: { kin, figures, values } } = maps, [row, column] = cell;
    const there = kin.kept[channel], area = width * height, value = values[there * area + row * width + column];
    this.child("#parentSaid", HTMLElement).textContent = fill(words.parentValue, {
      layer: kin.layer, channel: there, value: number(value),
    });
    this.#canvas.hidden = area === 1;
    const zoom = pictureSides().map / Math.max(width, height), side = Math.max(zoom, 5), shift = (zoom - side) / 2;
    const context = sized(this.#canvas, width * zoom, height * zoom);
    context.imageSmoothingEnabled = false;
    const picture = bitmap(coloured(values, there * area, area, figures.ends[there], signed), width, height);
    context.drawImage(picture, 0, 0, width * zoom, height * zoom);
    frame(context, column * zoom + shift, row * zoom + shift, side, side);
    this.#canvas.setAttribute("aria-label", fill(words.parentLabel, { layer: kin.layer, channel: there }));
  }
}

customElements.define("parent-map", ParentMap);
