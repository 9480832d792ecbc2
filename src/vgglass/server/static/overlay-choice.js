// What lies over the photograph: nothing, a field, evidence for a class, or the classifier slid over it.
import { PageElement } from "./element.js";
import { tell } from "./failures.js";
import { rove, settle } from "./roving.js";
import { get, patch } from "./store.js";
import { make } from "./ui.js";
import { words } from "./words.js";

/** @type {import("./store.js").Overlay[]} */
const OVERLAYS = ["none", "field", "evidence", "sliding"];

class OverlayChoice extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "overlay"];
  #choices = this.child("#overlays", HTMLElement);
  #opacity = this.child("#opacity", HTMLInputElement);

  connectedCallback() {
    super.connectedCallback();
    rove(this.#choices);
    this.#opacity.addEventListener("input", () => patch({ opacity: Number(this.#opacity.value) / 100 }));
  }

  update() {
    const { overlay } = get(), focused = this.#choices.contains(document.activeElement);
    this.#choices.replaceChildren(...OVERLAYS.map(each => make("button", {
      type: "button", role: "radio", "aria-checked": String(each === overlay), "data-choice": each,
      onclick: () => {
        tell("overlay", undefined);
        patch({ overlay: each });
      },
    }, words.overlays[each])));
    settle(this.#choices);
    if (focused) this.child("[aria-checked=true]", HTMLElement).focus();
    this.child("#opacityRow", HTMLElement).hidden = overlay === "none" || overlay === "field";
    for (const part of document.querySelectorAll("#glass > [data-overlay]")) {
      if (part instanceof HTMLElement) part.hidden = part.dataset.overlay !== overlay;
    }
  }
}

customElements.define("overlay-choice", OverlayChoice);
