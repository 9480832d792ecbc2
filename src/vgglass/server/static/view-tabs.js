// The tabs of the page's views; the open view is shown, the others are hidden.
import { address } from "./address.js";
import { PageElement } from "./element.js";
import { rove, settle } from "./roving.js";
import { get, patch } from "./store.js";
import { make } from "./ui.js";
import { words } from "./words.js";

class ViewTabs extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "view", "sample", "layer", "channel", "cell"];
  #tabs = this.child("nav", HTMLElement);

  connectedCallback() {
    super.connectedCallback();
    rove(this.#tabs);
  }

  update() {
    const { model, view, layer } = get(), views = model?.views ?? [];
    this.hidden = views.length < 2;
    this.#tabs.setAttribute("aria-label", words.viewsLabel);
    this.#tabs.replaceChildren(...views.map(each => make("a", {
      href: address(layer, each), "aria-current": each === view ? "page" : "false",
      onclick: event => {
        event.preventDefault();
        patch({ view: each });
        this.#tabs.querySelector("a[aria-current=page]")?.scrollIntoView({ block: "nearest" });
      },
    }, words.views[each])));
    settle(this.#tabs);
    for (const part of document.querySelectorAll(".view")) {
      if (part instanceof HTMLElement) part.hidden = part.id !== view;
    }
  }
}

customElements.define("view-tabs", ViewTabs);
