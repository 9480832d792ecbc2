// On a phone: the photograph and its answer in a line that stays.
import { PageElement } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { percent, words } from "./words.js";

class PhoneBar extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["image", "awaited", "language"];
  #text = this.child("#phoneAnswer", HTMLElement);

  update() {
    const { image, awaited } = get();
    if (awaited || !image) this.#text.textContent = words.looking;
    else {
      const [{ class: name, probability }] = image.top;
      this.#text.textContent = fill(words.phoneAnswer, { class: name, probability: percent(probability) });
    }
  }
}

customElements.define("phone-bar", PhoneBar);
