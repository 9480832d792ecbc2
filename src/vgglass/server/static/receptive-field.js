// The receptive field of a position as text, and its gradient once the pointer rests.
import { fetchField } from "./api.js";
import { PageElement } from "./element.js";
import { attempt } from "./failures.js";
import { isEmpty } from "./geometry.js";
import { litField, shownField } from "./seen.js";
import { get, patch, touches } from "./store.js";
import { fill } from "./ui.js";
import { joined, words } from "./words.js";

const REST = 160; // milliseconds of hovering before the gradient is requested
const WHOLE = ["image", "linear", "softmax", "dropout"]; // layers without a localised gradient

class ReceptiveField extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["position", "field", "language", "image", "overlay", "lit", "photo"];
  #text = this.child("#seen", HTMLElement);
  #timer = 0;
  #request = new AbortController();

  /** @param {import("./store.js").Changed} changed */
  update(changed) {
    this.#describe();
    if (touches(changed, "position", "overlay")) this.#awaitRest();
  }

  #describe() {
    const { position, photo, model, field, lit } = get(), box = shownField(), pixel = litField();
    if (!position || !box || !photo || !model?.glass) {
      this.#text.textContent = "";
      return;
    }
    const { layer, cell } = position, side = layer.receptive_field, whole = side > model.size;
    const text = isEmpty(box) ? words.fieldInPadding : whole ? words.fieldBeyond : words.fieldOnPhoto;
    const sentence = fill(text, {
      layer: layer.name, row: cell[0], column: cell[1], height: side, width: side, size: model.size,
    });
    const glow = field ? fill(words.effective, { height: field.side, width: field.side, side }) : "";
    this.#text.textContent = joined(sentence, glow, lit && pixel ? words.litOnPhoto : "");
    this.#text.dataset.box = [box.top, box.left, box.bottom, box.right].map(x => x.toFixed(3)).join(",");
  }

  #awaitRest() {
    clearTimeout(this.#timer);
    this.#request.abort();
    const { position, image, overlay } = get();
    if (!position || !image || overlay !== "field") return;
    const { kind, shape } = position.layer;
    if (WHOLE.includes(kind) || shape[0] === 1) return patch({ field: null });
    const request = (this.#request = new AbortController());
    this.#timer = setTimeout(() => this.#fetch(image, position, request.signal), REST);
  }

  /** @param {import("./api.js").ImageAnswer} image @param {import("./store.js").Position} position
   * @param {AbortSignal} signal */
  async #fetch(image, position, signal) {
    const field = await attempt("overlay", () => fetchField(image, position.layer.name, position.cell, signal));
    if (field && image === get().image && position === get().position) patch({ field });
  }
}

customElements.define("receptive-field", ReceptiveField);
