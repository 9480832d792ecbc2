// The layers of one unit, a convolution, its norm and its ReLU, and the way to the unit before and after.
import { openLayer } from "./actions.js";
import { address } from "./address.js";
import { PageElement } from "./element.js";
import { rove, settle } from "./roving.js";
import { get } from "./store.js";
import { make } from "./ui.js";
import { unitOf } from "./units.js";
import { words } from "./words.js";

class UnitSwitch extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "layer", "image"];
  #unit = this.child("#unit", HTMLElement);

  connectedCallback() {
    super.connectedCallback();
    rove(this.#unit);
  }

  update() {
    const { model, layer: open } = get();
    if (!model?.glass) return;
    const { layers } = unitOf(model.layers, open), focused = document.activeElement?.getAttribute("data-layer");
    this.hidden = layers.length < 2;
    this.#unit.setAttribute("aria-label", words.unit);
    this.#unit.replaceChildren(...layers.map(({ name, kind }) => make("a", {
      href: address(name), "data-layer": name, "aria-current": String(name === open), title: name,
      onclick: event => {
        event.preventDefault();
        const { channel, cell } = get(); // the same place of the same map
        openLayer(name, { channel, cell });
      },
    }, words.kinds[kind])));
    settle(this.#unit);
    if (focused) for (const each of this.querySelectorAll("a")) if (each.dataset.layer === focused) each.focus();
  }
}

customElements.define("unit-switch", UnitSwitch);
