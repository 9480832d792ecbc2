// Attribution: choice of a method, and the legend of its colours.
import { fetchAttribution } from "./api.js";
import { PageElement } from "./element.js";
import { get, patch, touches } from "./store.js";
import { fill, make } from "./ui.js";
import { number, words } from "./words.js";

class ClassAttribution extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "photo", "method", "target", "layer", "attribution", "classMap"];
  #methods = this.child("#methods", HTMLElement);
  #opacity = this.child("#opacity", HTMLInputElement);
  #legend = this.child("#whyLegend", HTMLElement);
  #asked = "";

  connectedCallback() {
    super.connectedCallback();
    this.#opacity.addEventListener("input", () => patch({ opacity: Number(this.#opacity.value) / 100 }));
  }

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { model } = get();
    if (!model?.glass) return;
    if (touches(changed, "model", "language", "method")) this.#drawMethods(model);
    this.#legend.textContent = legend();
    await this.#fetch(changed.has("photo"));
  }

  /** @param {import("./api.js").GlassModel} model */
  #drawMethods({ methods }) {
    const { method } = get();
    this.#methods.replaceChildren(...methods.map(name => make("button", {
      type: "button", "aria-pressed": String(method === name), "data-method": name, onclick: () => choose(name),
    }, words.methods[name])));
  }

  /** @param {boolean} again whether what was asked for before counts no longer */
  async #fetch(again) {
    const { photo, image, method, target, model } = get();
    const layer = method && model?.glass && model.layered_methods.includes(method) ? openLayer() : null;
    const computed = method && method !== "class-map" && image && photo?.image === image;
    const asked = computed ? JSON.stringify([image.id, method, target, layer]) : "";
    if (asked === this.#asked && !again) return;
    this.#asked = asked;
    patch({ attribution: null });
    if (!computed) return;
    const attribution = await fetchAttribution(image, method, target, layer);
    if (asked === this.#asked && image === get().image) patch({ attribution });
  }
}

/** @param {import("./words.js").Method} name choosing the current one removes the map */
function choose(name) {
  if (get().method === name) patch({ method: "" });
  else patch({ method: name, sliding: false });
}

/** The open layer if it lies before the head; null for the server's default. */
function openLayer() {
  const { model, layer } = get();
  if (!model?.glass) return null;
  const [open, head] = [layer, model.head_layer].map(name => model.layers.findIndex(each => each.name === name));
  return open > 0 && open < head ? layer : null;
}

function legend() {
  const { method, attribution, classMap, photo } = get();
  if (!method || !photo) return "";
  if (method === "class-map") {
    if (!classMap) return words.working;
    const { class: one, other, picture } = classMap;
    const name = other === null ? one : fill(words.differenceOf, { class: one, other });
    return fill(words.whySigned, { method: words.methods[method], class: name, end: number(picture.end) });
  }
  if (!attribution) return words.working;
  const name = words.methods[method] + (attribution.layer ? ` (${attribution.layer})` : "");
  const sentence = attribution.signed ? words.whySigned : words.whyPositive;
  return fill(sentence, { method: name, class: attribution.class, end: number(attribution.end) });
}

customElements.define("class-attribution", ClassAttribution);
