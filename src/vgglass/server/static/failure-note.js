// The sentence of what was refused, beside what was asked for.
import { PageElement } from "./element.js";
import { explained } from "./failures.js";
import { get } from "./store.js";

class FailureNote extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["failures", "language"];
  #place = /** @type {import("./store.js").Place} */ (this.getAttribute("place"));

  update() {
    const refused = get().failures[this.#place];
    this.hidden = !refused;
    this.textContent = refused ? explained(refused) : "";
  }
}

customElements.define("failure-note", FailureNote);
