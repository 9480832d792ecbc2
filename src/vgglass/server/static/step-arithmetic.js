// The terms of one output, and its agreement with the network.
import { fetchStep } from "./api.js";
import { termsOf, total } from "./arithmetic-terms.js";
import { PageElement } from "./element.js";
import { attempt } from "./failures.js";
import { SoftmaxTable } from "./softmax-table.js";
import { get, patch, touches } from "./store.js";
import { fill, make } from "./ui.js";
import { exact, number, words } from "./words.js";

/** Kinds whose terms the pictures show: their numbers stand ready. @type {import("./api.js").Step["kind"][]} */
const FOLDED = ["conv", "maxpool", "avgpool", "linear"];

class StepArithmetic extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["photo", "layer", "channel", "cell", "step", "language"];
  #box = this.child("#arithmetic", HTMLElement);
  #request = new AbortController();

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    if (touches(changed, "step", "language")) this.#draw();
    if (!touches(changed, "photo", "layer", "channel", "cell")) return;
    const { image, photo, layer, channel, cell } = get();
    if (!image || photo?.image !== image || channel === null || !cell) return;
    if (layer === "image") {
      this.#box.dataset.layer = layer;
      this.#box.replaceChildren();
      return patch({ step: null });
    }
    this.#request.abort();
    const { signal } = (this.#request = new AbortController());
    const step = await attempt("step", () => fetchStep(image, layer, channel, cell, signal)), now = get();
    const same = layer === now.layer && channel === now.channel && cell === now.cell;
    if (step && same && image === now.image) patch({ step });
  }

  #draw() {
    const { step, image, layer } = get();
    if (!step || !image || step.layer !== layer) return;
    const open = this.#box.querySelector("details")?.open;
    this.#box.replaceChildren(
      ...(FOLDED.includes(step.kind) ? [make("details", {}, make("summary", {}, words.everyNumber), ...termsOf(step))]
        : termsOf(step)),
      ...(step.kind === "softmax" ? [softmax(step)] : []),
      ...afterRelu(step),
      verdict(step),
      make("p", { class: "note" }, fill(words.precision, { engine: image.engine, precision: image.precision })),
    );
    const details = this.#box.querySelector("details");
    if (open && details) details.open = true;
    Object.assign(this.#box.dataset, {
      layer: step.layer, channel: step.channel, at: step.position.join(","),
      recomputed: step.recomputed, network: step.network,
    });
  }
}

/** @param {import("./api.js").Step} step */
function softmax({ channel }) {
  const { model } = get(), table = new SoftmaxTable(channel);
  if (!model?.glass || !model.temperature) return table;
  const note = fill(words.ownTemperature, { temperature: number(model.temperature) });
  return make("div", {}, table, make("p", { class: "note" }, note));
}

/** @param {import("./api.js").Step} step */
function afterRelu({ after, recomputed }) {
  if (!after) return [];
  return [total(words.thenRelu, {
    layer: after.layer, input: exact(recomputed), recomputed: exact(after.recomputed), network: exact(after.network),
  })];
}

/** @param {import("./api.js").Step} step */
function verdict({ agrees, recomputed, network, difference, bound }) {
  const text = (agrees ? "✓ " : "✗ ") + fill(words.verdict, {
    recomputed: exact(recomputed), network: exact(network), difference: difference.toPrecision(2),
    bound: bound.toPrecision(2),
  });
  return make("p", { class: "sum " + (agrees ? "good" : "bad"), id: "verdict" }, text);
}

customElements.define("step-arithmetic", StepArithmetic);
