// What the chosen channel looks for: the strongest patches of the samples, and an image made to excite it.
import { fetchPreference } from "./api.js";
import { PageElement, sized } from "./element.js";
import { attempt } from "./failures.js";
import { get, touches } from "./store.js";
import { ProgressNote } from "./progress-note.js";
import { make } from "./ui.js";
import { number, sampleName, words } from "./words.js";

const SIDE = 88; // CSS pixels

class ChannelPreference extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["view", "layer", "channel", "image", "language"];
  #button = this.child("button", HTMLButtonElement);
  #box = this.child("#preferred", HTMLElement);
  #progress = this.child("progress-note", ProgressNote);
  #request = new AbortController();
  #open = false;
  /** Whether a search is under way. */
  #searches = false;
  /** Whether it was given up because the view was closed. */
  #left = false;

  connectedCallback() {
    super.connectedCallback();
    this.#button.addEventListener("click", () => {
      this.#open = !this.#open;
      this.#fetch();
    });
  }

  closed() {
    this.#left ||= this.#searches;
    this.#give();
  }

  /** Give the search up. */
  #give() {
    this.#request.abort();
    this.#searches = false;
    this.#progress.end();
  }

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { layer } = get();
    this.hidden = layer === "image" || layer === "prob";
    if (touches(changed, "layer", "channel", "language") || this.#left) await this.#fetch();
  }

  async #fetch() {
    this.#give();
    this.#left = false;
    const { signal } = (this.#request = new AbortController()), { image, layer, channel } = get();
    this.#button.setAttribute("aria-expanded", String(this.#open));
    this.#box.hidden = !this.#open;
    this.#box.replaceChildren();
    if (!this.#open || this.hidden || !image || channel === null) return;
    this.#searches = true;
    this.#progress.begin(() => this.#button.click());
    await attempt("step", async () => {
      for await (const { done, total, patches, png } of fetchPreference(image, layer, channel, signal)) {
        if (signal.aborted) return;
        this.#progress.at(done, total);
        if (!patches || !png) continue;
        const figures = await Promise.all([
          figure(png, words.preferredImage),
          ...patches.map(each => figure(each.png, sampleName(each.name) + ": " + number(each.value))),
        ]);
        if (!signal.aborted) this.#box.replaceChildren(...figures);
      }
    });
    if (!signal.aborted) this.#give();
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
