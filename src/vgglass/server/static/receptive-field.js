// The receptive field of a position as text, and its gradient once the pointer rests.
import { fetchField } from "./api.js";
import { PageElement } from "./element.js";
import { isEmpty, receptiveField } from "./geometry.js";
import { get, patch, touches } from "./store.js";
import { fill } from "./ui.js";
import { joined, percent, words } from "./words.js";

const REST = 160; // milliseconds of hovering before the gradient is requested
const WHOLE = ["image", "linear", "softmax", "dropout"]; // layers without a localised gradient

class ReceptiveField extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["position", "field", "scoreCell", "language", "image"];
  #text = this.child("#seen", HTMLElement);
  #timer = 0;
  #request = new AbortController();

  /** @param {import("./store.js").Changed} changed */
  update(changed) {
    const { scores, scoreCell, image } = get();
    if (!image) this.#text.textContent = "";
    else if (scores && scoreCell && !touches(changed, "position", "field")) this.#describeScore(scores, scoreCell);
    else this.#describePosition();
    if (changed.has("position")) this.#awaitRest();
  }

  #describePosition() {
    const { position, photo, model, field } = get();
    if (!position || !photo?.image.placement || !model?.glass) return;
    const { layer, cell } = position, { width, height } = photo.bitmap, side = layer.receptive_field;
    const box = receptiveField({ width, height, placement: photo.image.placement }, model.size, layer, cell);
    const sentence = fill(isEmpty(box) ? words.fieldInPadding : words.fieldOnPhoto, {
      layer: layer.name, row: cell[0], column: cell[1], height: side, width: side,
    });
    const glow = field ? fill(words.effective, { height: field.side, width: field.side, side }) : "";
    this.#text.textContent = joined(sentence, glow);
    this.#text.dataset.box = [box.top, box.left, box.bottom, box.right].map(x => x.toFixed(3)).join(",");
  }

  /** @param {import("./api.js").Scores} scores @param {import("./store.js").Cell} cell */
  #describeScore({ probabilities, likeliest, names, class: name }, [row, column]) {
    const probability = percent(probabilities[row][column]), first = names[likeliest[row][column]];
    this.#text.textContent = fill(words.slidePlace, { row, column, class: name, probability, likeliest: first });
  }

  #awaitRest() {
    clearTimeout(this.#timer);
    this.#request.abort();
    const { position, image } = get();
    if (!position || !image) return;
    const { kind, shape } = position.layer;
    if (WHOLE.includes(kind) || shape[0] === 1) return patch({ field: null });
    const request = (this.#request = new AbortController());
    this.#timer = setTimeout(() => this.#fetch(image, position, request.signal), REST);
  }

  /** @param {import("./api.js").ImageAnswer} image @param {import("./store.js").Position} position
   * @param {AbortSignal} signal */
  async #fetch(image, position, signal) {
    try {
      const field = await fetchField(image, position.layer.name, position.cell, signal);
      if (image === get().image && position === get().position) patch({ field });
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
    }
  }
}

customElements.define("receptive-field", ReceptiveField);
