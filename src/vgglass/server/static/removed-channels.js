// What the channels did that a shrunk model's parent has and it has not: the parent's maps, and how the class moves.
import { fetchParentImportance, fetchRemoval } from "./api.js";
import { bitmap, coloured } from "./colours.js";
import { PageElement, sized } from "./element.js";
import { attempt } from "./failures.js";
import { get, touches } from "./store.js";
import { arranged, mark, pitch } from "./tiles.js";
import { fill } from "./ui.js";
import { number, percent, words } from "./words.js";

class RemovedChannels extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["maps", "importance", "language", "colourScheme"];
  #canvas = this.child("#removed", HTMLCanvasElement);
  #note = this.child("#removedNote", HTMLElement);
  /** The parent's importance for the image and class of `key`. @type {import("./api.js").Importance | null} */
  #importance = null;
  #key = "";
  /** Of the open layer: how the class moves, and the parent's shares of its importance.
   * @type {{removal: import("./api.js").Removal, shares: number[]} | null} */
  #known = null;

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { maps } = get();
    this.hidden = !maps?.parent?.kin.removed.length;
    if (touches(changed, "maps", "importance")) await this.#fetch();
    this.#draw();
  }

  async #fetch() {
    const { maps, importance, model } = get();
    this.#known = null;
    if (this.hidden || !maps?.parent || !importance || !model?.glass) return;
    this.#note.textContent = words.working;
    const { image, layer: { origin } } = maps, { target } = importance, key = [image.id, target].join(" ");
    const relu = model.layers.find(each => each.kind === "relu" && each.origin === origin)?.parent;
    const source = model.layers.find(each => each.name === origin)?.parent;
    if (!relu || !source) return;
    const found = await attempt("grid", () => Promise.all([
      this.#key === key && this.#importance ? this.#importance : fetchParentImportance(image, target),
      fetchRemoval(image, relu.layer, target),
    ]));
    this.#note.textContent = "";
    if (!found) return;
    const [whole, removal] = found;
    if (maps !== get().maps || importance !== get().importance) return;
    this.#importance = whole;
    this.#key = key;
    this.#known = { removal, shares: whole.shares[source.layer] };
  }

  #draw() {
    const { maps } = get();
    if (!maps?.parent || !this.#known) return;
    const { width, height, signed, parent: { kin, figures, values } } = maps, area = width * height;
    const { removal, shares } = this.#known;
    const channels = kin.removed.toSorted((one, other) => shares[other] - shares[one] || one - other);
    const most = shares[channels[0]] || 1, share = channels.reduce((sum, channel) => sum + shares[channel], 0);
    const layout = arranged(maps, channels.length, this.#canvas.parentElement?.clientWidth ?? 0, false);
    const [across, down] = pitch(layout, maps), { zoom, columns, caption } = layout;
    const context = sized(this.#canvas, columns * across, Math.ceil(channels.length / columns) * down);
    const ink = getComputedStyle(this.#canvas).color;
    context.imageSmoothingEnabled = false;
    context.font = "11px system-ui, sans-serif";
    for (const [i, channel] of channels.entries()) {
      const left = (i % columns) * across, top = Math.floor(i / columns) * down + caption;
      const end = width > 1 ? figures.ends[channel] : Math.max(...figures.ends);
      const picture = bitmap(coloured(values, channel * area, area, end, signed), width, height);
      context.drawImage(picture, left, top, width * zoom, height * zoom);
      context.fillStyle = ink;
      if (caption) context.fillText(String(channel), left, top - 7, width * zoom);
      if (caption) mark(context, left, top, (shares[channel] / most) * width * zoom);
    }
    this.#canvas.setAttribute("aria-label", fill(words.removedLabel, { layer: kin.layer, count: channels.length }));
    this.#canvas.dataset.layer = maps.layer.name;
    this.#note.textContent = fill(words.removedNote, {
      class: removal.class, layer: kin.layer, count: channels.length, share: percent(share),
      before: number(removal.before), without: number(removal.without), all: number(removal.withoutAll),
    });
  }
}

customElements.define("removed-channels", RemovedChannels);
