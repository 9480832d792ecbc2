// What the chosen channel looks for: the strongest patches of the samples, and an image made to excite it.
import { fetchPreference } from "./api.js";
import { PageElement, sized } from "./element.js";
import { attempt } from "./failures.js";
import { get, touches } from "./store.js";
import { make } from "./ui.js";
import { number, sampleName, words } from "./words.js";

const SIDE = 88; // CSS pixels

class ChannelPreference extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["layer", "channel", "image", "language"];
  #button = this.child("button", HTMLButtonElement);
  #box = this.child("#preferred", HTMLElement);
  #request = new AbortController();
  #open = false;

  connectedCallback() {
    super.connectedCallback();
    this.#button.addEventListener("click", () => {
      this.#open = !this.#open;
      this.#fetch();
    });
  }

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { layer } = get();
    this.hidden = layer === "image" || layer === "prob";
    if (touches(changed, "layer", "channel", "language")) await this.#fetch();
  }

  async #fetch() {
    this.#request.abort();
    const { signal } = (this.#request = new AbortController()), { image, layer, channel } = get();
    this.#button.setAttribute("aria-expanded", String(this.#open));
    this.#box.hidden = !this.#open;
    this.#box.replaceChildren();
    if (!this.#open || this.hidden || !image || channel === null) return;
    this.#box.replaceChildren(make("progress", { "aria-label": words.working }));
    const found = await attempt("step", () => fetchPreference(image, layer, channel, signal));
    if (signal.aborted) return;
    const patches = found?.patches ?? [];
    const figures = await Promise.all(patches.map(({ name, value, png }) =>
      figure(png, sampleName(name) + ": " + number(value))));
    if (found) figures.unshift(await figure(found.png, words.preferredImage));
    if (!signal.aborted) this.#box.replaceChildren(...figures);
  }
}

/** @param {string} png in base64 @param {string} caption */
async function figure(png, caption) {
  const bytes = Uint8Array.from(atob(png), letter => letter.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes])), scale = SIDE / Math.max(picture.width, picture.height);
  const canvas = make("canvas", { role: "img", "aria-label": caption });
  const context = sized(canvas, picture.width * scale, picture.height * scale);
  context.imageSmoothingEnabled = scale < 3;
  context.drawImage(picture, 0, 0, picture.width * scale, picture.height * scale);
  return make("figure", {}, canvas, make("figcaption", {}, caption));
}

customElements.define("channel-preference", ChannelPreference);
