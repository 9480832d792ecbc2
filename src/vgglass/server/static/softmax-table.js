// The softmax of the top classes, with a slider for the temperature.
import { fetchSoftmax } from "./api.js";
import { list, total } from "./arithmetic-terms.js";
import { get } from "./store.js";
import { make } from "./ui.js";
import { exact, number, words } from "./words.js";

/** Three digits: five columns have to fit beside the maps. @param {number} value */
const short = value => number(Number(value.toPrecision(3)));

export class SoftmaxTable extends HTMLElement {
  #channel = 0;
  #turn = 0;
  #slider = make("input", {
    type: "range", id: "temperature", min: -2, max: 2, step: 0.05, value: 0, "aria-label": words.temperature,
  });
  #temperature = make("output", {}, "1");
  #table = make("div", { id: "softmax" });

  /** @param {number} channel the selected class, always included */
  constructor(channel) {
    super();
    this.#channel = channel;
    this.#slider.addEventListener("input", () => this.#draw());
  }

  connectedCallback() {
    const label = make("label", { class: "slider" }, words.temperature, this.#slider, this.#temperature);
    this.replaceChildren(label, this.#table);
    this.#draw();
  }

  async #draw() {
    const turn = ++this.#turn, temperature = Number((10 ** Number(this.#slider.value)).toPrecision(3));
    const { image } = get();
    this.#temperature.textContent = String(temperature);
    if (!image) return;
    const softmax = await fetchSoftmax(image, temperature, this.#channel);
    if (turn !== this.#turn) return;
    const rows = softmax.rows.map(({ class: name, logit, shifted, exponential, probability }) =>
      [name, ...[logit, shifted, exponential, probability].map(short)]);
    const head = [words.class, "z", "z / T − max", "exp", "p"];
    this.#table.replaceChildren(list(head, rows), total(words.softmaxSum, { total: exact(softmax.total) }));
  }
}

customElements.define("softmax-table", SoftmaxTable);
