// The link to the model's card, which opens here: a new tab could not send the access token.
import { PageElement } from "./element.js";
import { query, request } from "./http.js";
import { get } from "./store.js";

class ModelCard extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language"];
  #link = this.child("a", HTMLAnchorElement);
  #dialog = this.child("dialog", HTMLDialogElement);
  #text = this.child("article", HTMLElement);

  connectedCallback() {
    super.connectedCallback();
    this.#link.addEventListener("click", event => {
      event.preventDefault();
      return this.#open();
    });
  }

  update() {
    const { model, language } = get();
    this.#link.hidden = !model?.card;
    this.#link.href = "card" + query({ lang: language });
  }

  /** What the server made of the card has no script, and the parser would run none. */
  async #open() {
    const page = await (await request(this.#link.href, { headers: { Accept: "text/html" } })).text();
    const main = new DOMParser().parseFromString(page, "text/html").querySelector("main");
    this.#text.replaceChildren(...(main?.childNodes ?? []));
    this.#dialog.showModal();
    this.#dialog.scrollTop = 0;
  }
}

customElements.define("model-card", ModelCard);
