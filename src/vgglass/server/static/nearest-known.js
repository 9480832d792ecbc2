// For an unfamiliar image: the training images that are nearest to it.
import { fetchKnown } from "./api.js";
import { PageElement } from "./element.js";
import { attempt } from "./failures.js";
import { get } from "./store.js";
import { fill, make } from "./ui.js";
import { words } from "./words.js";

class NearestKnown extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["image", "language"];
  #said = this.child("p", HTMLElement);
  #pictures = this.child("div", HTMLElement);
  /** @type {import("./api.js").ImageAnswer | null} */
  #image = null;
  /** @type {readonly import("./api.js").Known[]} */
  #known = [];

  async update() {
    const { image, model } = get();
    if (image !== this.#image) {
      this.#image = image;
      this.#known = [];
      this.#draw();
      if (!image?.unfamiliar || !model?.glass) return;
      const found = await attempt("answer", () => fetchKnown(image));
      if (image !== get().image || !found) return;
      this.#known = found.known;
    }
    this.#draw();
  }

  #draw() {
    this.hidden = !this.#known.length;
    this.#said.textContent = words.nearestKnown;
    this.#pictures.replaceChildren(...this.#known.map(({ class: name, similarity, picture }) => {
      const text = fill(words.knownImage, { class: name, similarity: similarity.toFixed(2) });
      return make("figure", {}, ...(picture ? [make("img", { src: picture, alt: text })] : []),
        make("figcaption", {}, text));
    }));
  }
}

customElements.define("nearest-known", NearestKnown);
