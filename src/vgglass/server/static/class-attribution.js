// Evidence for a class: a method, coarse at first, with its progress, and the legend of its colours.
import { fetchStages } from "./api.js";
import { PageElement } from "./element.js";
import { attempt } from "./failures.js";
import { get, patch, touches } from "./store.js";
import { fill, make } from "./ui.js";
import { number, words } from "./words.js";

class ClassAttribution extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = [
    "model", "language", "photo", "overlay", "method", "target", "layer", "ofOpenLayer", "attribution", "classMap",
  ];
  #method = this.child("#method", HTMLSelectElement);
  #ofOpen = this.child("#ofOpen", HTMLButtonElement);
  #request = new AbortController();
  #asked = "";

  connectedCallback() {
    super.connectedCallback();
    this.#method.addEventListener("change", () => patch({ method: methods()[this.#method.selectedIndex] }));
    this.#ofOpen.addEventListener("click", () => patch({ ofOpenLayer: !get().ofOpenLayer }));
    this.child("#whyCancel", HTMLElement).addEventListener("click", () => this.#cancel());
  }

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { model, method, ofOpenLayer } = get();
    if (!model?.glass) return;
    if (touches(changed, "model", "language", "method")) this.#drawMethods();
    this.#ofOpen.hidden = !method || !model.layered_methods.includes(method) || openLayer() === null;
    this.#ofOpen.setAttribute("aria-pressed", String(ofOpenLayer));
    this.child("#whyLegend", HTMLElement).textContent = legend();
    await this.#fetch(changed.has("photo"));
  }

  #drawMethods() {
    this.#method.replaceChildren(...methods().map(name =>
      make("option", { value: name, selected: name === get().method }, words.methods[name])));
  }

  /** @param {boolean} again whether what was asked for before counts no longer */
  async #fetch(again) {
    const { photo, image, overlay, method, target, model, ofOpenLayer } = get();
    const layered = method && model?.glass && model.layered_methods.includes(method);
    const layer = layered && ofOpenLayer ? openLayer() : null;
    const computed = overlay === "evidence" && method && method !== "class-map" && image && photo?.image === image;
    const asked = computed ? JSON.stringify([image.id, method, target, layer]) : "";
    if (asked === this.#asked && !again) return;
    this.#request.abort();
    this.#asked = asked;
    patch({ attribution: null });
    this.#progress(0, 0);
    if (!computed) return;
    const { signal } = (this.#request = new AbortController());
    this.#progress(0, 1);
    await attempt("overlay", async () => {
      for await (const { done, total, ...attribution } of fetchStages(image, method, target, layer, signal)) {
        if (signal.aborted) return;
        patch({ attribution });
        this.#progress(done, total);
      }
    });
    if (!signal.aborted) this.#progress(0, 0);
  }

  /** @param {number} done @param {number} total 0 while nothing is computed */
  #progress(done, total) {
    const bar = this.child("#whyBar", HTMLProgressElement);
    this.child("#whyProgress", HTMLElement).hidden = done === total;
    bar.setAttribute("aria-label", words.working);
    if (done) Object.assign(bar, { value: done, max: total });
    else bar.removeAttribute("value");
  }

  /** Stop: what has been computed stays. */
  #cancel() {
    this.#request.abort();
    this.#progress(0, 0);
  }
}

function methods() {
  const { model } = get();
  return model?.glass ? model.methods : [];
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
    if (!classMap) return "";
    const { class: one, other, picture } = classMap;
    const name = other === null ? one : fill(words.differenceOf, { class: one, other });
    return fill(words.whySigned, { method: words.methods[method], class: name, end: number(picture.end) });
  }
  if (!attribution) return words.whyNote;
  const name = words.methods[method] + (attribution.layer ? ` (${attribution.layer})` : "");
  const sentence = attribution.signed ? words.whySigned : words.whyPositive;
  return fill(sentence, { method: name, class: attribution.class, end: number(attribution.end) });
}

customElements.define("class-attribution", ClassAttribution);
