// The sum over depth: what each input channel adds, as a bar each; pointing at one brings its window and kernel.
import { clip, colour, PageElement, sized } from "./element.js";
import { shownInput, sumsOf } from "./seen.js";
import { get, patch } from "./store.js";
import { fill } from "./ui.js";
import { exact, number, words } from "./words.js";

/** CSS pixels. */
const height = () => (innerHeight < 800 ? 40 : 56);

class DepthSum extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["step", "layer", "inputChannel", "language", "colourScheme"];
  #canvas = this.child("#depth", HTMLCanvasElement);
  /** Channels as the bars stand. @type {readonly number[]} */
  #shown = [];

  connectedCallback() {
    super.connectedCallback();
    for (const name of /** @type {const} */ (["pointermove", "click"])) {
      this.#canvas.addEventListener(name, event => {
        const { left, width } = this.#canvas.getBoundingClientRect();
        this.#choose(Math.floor(((event.clientX - left) / width) * this.#shown.length));
      });
    }
    this.#canvas.addEventListener("keydown", event => {
      const move = new Map([["ArrowRight", 1], ["ArrowLeft", -1]]).get(event.key), { step } = get();
      if (!move || !step) return;
      event.preventDefault();
      this.#choose(this.#shown.indexOf(shownInput(step)) + move);
    });
    new ResizeObserver(() => this.update()).observe(this);
  }

  update() {
    const { step, layer } = get(), sums = step?.layer === layer && layer !== "image" ? sumsOf(step) : null;
    this.hidden = !sums;
    if (!sums || !step || (step.kind !== "conv" && step.kind !== "linear")) return;
    const kept = step.kind === "linear" ? step.terms.windows?.map(each => each.channel) : null;
    this.#shown = kept ? [...kept].sort((one, other) => one - other) : [...sums.keys()];
    const width = this.clientWidth, down = height(), shown = shownInput(step);
    const context = sized(this.#canvas, width, down);
    const most = Math.max(...sums.map(Math.abs)) || 1, each = width / this.#shown.length, middle = down / 2;
    for (const [i, channel] of this.#shown.entries()) {
      const length = (sums[channel] / most) * (middle - 2), left = i * each;
      if (channel === shown) {
        context.fillStyle = colour("sees");
        context.fillRect(left - 1, 0, Math.max(3, each + 1), down);
      }
      context.fillStyle = colour(length < 0 ? "minus" : "plus");
      const thick = Math.max(1, each - (each > 3 ? 1 : 0));
      context.fillRect(left, Math.min(middle, middle - length), thick, Math.abs(length));
    }
    context.fillStyle = colour("soft");
    context.fillRect(0, middle, width, 0.5);
    const { sum, bias } = step.terms, said = fill(kept ? words.depthSumOfHead : words.depthSum, {
      channels: sums.length, shown, one: number(sums[shown]), sum: number(sum), bias: number(bias),
      result: exact(step.recomputed), bars: this.#shown.length,
    });
    this.#canvas.setAttribute("aria-label", fill(words.depthLabel, { channels: this.#shown.length }));
    this.child("#depthSaid", HTMLElement).textContent = said;
  }

  /** @param {number} bar */
  #choose(bar) {
    const channel = this.#shown[clip(bar, this.#shown.length)];
    if (channel !== undefined) patch({ inputChannel: channel });
  }
}

customElements.define("depth-sum", DepthSum);
