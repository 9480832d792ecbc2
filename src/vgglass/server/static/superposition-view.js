// Convolution as a superposition: every pixel of the shown input channel lays a copy of the kernel, turned by half a
// turn and scaled by the pixel, on the output; where copies overlap they add up.
import { bitmap, coloured } from "./colours.js";
import { byId, frame, PageElement, sized } from "./element.js";
import { shownInput } from "./seen.js";
import { get } from "./store.js";
import { fill, make } from "./ui.js";
import { number, words } from "./words.js";

const SIDE = 160, DURATION = 8000, FRAME = 50; // CSS pixels; milliseconds for all pixels, and between two pictures

class SuperpositionView extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["step", "layer", "inputChannel", "inputMap", "language"];
  #tools = byId("superpositionTools", HTMLElement);
  #box = this.child("#superposition", HTMLElement);
  #said = this.child("#superpositionSaid", HTMLElement);
  #input = make("canvas", { role: "img" });
  #output = make("canvas", { role: "img" });
  #slider = make("input", { type: "range", min: 0, max: 1, step: "any", value: 0 });
  #open = false;
  #timer = 0;

  connectedCallback() {
    super.connectedCallback();
    this.#slider.addEventListener("input", () => {
      this.#stop();
      this.#draw();
    });
  }

  update() {
    const { step, layer, model } = get();
    this.hidden = step?.kind !== "conv" || step.layer !== layer || !model?.glass;
    if (this.hidden) this.#stop();
    this.#drawTools();
    if (this.#open && !this.hidden) this.#draw();
  }

  #drawTools() {
    const focused = document.activeElement?.id;
    const open = make("button", {
      type: "button", id: "superpose", "aria-expanded": String(this.#open), onclick: () => this.#toggle(),
    }, words.superpose);
    const play = make("button", {
      type: "button", id: "superposePlay", "aria-pressed": String(this.#timer > 0), onclick: () => this.#play(),
    }, this.#timer ? words.pause : words.layDown);
    this.#slider.setAttribute("aria-label", words.laidDown);
    this.#box.hidden = this.#said.hidden = !this.#open;
    this.#tools.hidden = this.hidden;
    this.#tools.replaceChildren(open, ...(this.#open ? [play, this.#slider] : []));
    for (const each of [open, play]) if (each.id === focused) each.focus();
    if (this.#box.children.length) return;
    const arrow = make("span", { class: "sign" }, "→");
    this.#box.append(make("figure", {}, this.#input), arrow, make("figure", {}, this.#output));
  }

  #toggle() {
    this.#open = !this.#open;
    if (!this.#open) return this.#stop();
    this.#slider.value = "0";
    this.#play();
  }

  #play() {
    if (this.#timer) return this.#stop();
    if (Number(this.#slider.value) >= 1) this.#slider.value = "0";
    this.#timer = setInterval(() => {
      this.#slider.value = String(Math.min(1, Number(this.#slider.value) + FRAME / DURATION));
      if (Number(this.#slider.value) >= 1) this.#stop();
      this.#draw();
    }, FRAME);
    this.update();
  }

  #stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#drawTools();
  }

  #draw() {
    const { step, inputMap } = get(), channel = step && shownInput(step);
    if (step?.kind !== "conv" || inputMap?.channel !== channel || inputMap.step !== step) return;
    const { values, width, height } = inputMap, kernel = step.terms.kernel[channel], total = width * height;
    const laid = Math.round(Number(this.#slider.value) * total), zoom = Math.min(SIDE / width, SIDE / height);
    const whole = superposed(values, width, height, kernel, total);
    const end = whole.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
    const sum = superposed(values, width, height, kernel, laid), [row, column] = step.position;
    const before = sized(this.#input, width * zoom, height * zoom), signed = values.some(value => value < 0);
    const most = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) || 1;
    const colours = coloured(values, 0, total, most, signed), across = width * zoom;
    before.imageSmoothingEnabled = false;
    before.globalAlpha = 0.3;
    before.drawImage(bitmap(colours, width, height), 0, 0, across, height * zoom);
    before.globalAlpha = 1;
    const rows = Math.floor(laid / width);
    if (rows) before.drawImage(bitmap(colours.slice(0, rows * width), width, rows), 0, 0, across, rows * zoom);
    const after = sized(this.#output, width * zoom, height * zoom);
    after.imageSmoothingEnabled = false;
    after.drawImage(bitmap(coloured(sum, 0, total, end, true), width, height), 0, 0, width * zoom, height * zoom);
    frame(after, column * zoom, row * zoom, zoom, zoom, 1);
    const said = fill(words.superposed, {
      channel, laid: laid.toLocaleString("en"), total: total.toLocaleString("en"), row, column,
      sum: number(sum[row * width + column]), expected: number(step.terms.channel_sums[channel]),
    });
    this.#said.textContent = said;
    this.#output.setAttribute("aria-label", said);
    this.#input.setAttribute("aria-label", fill(words.inputLabel, { layer: inputMap.layer, channel }));
  }
}

/** What the first `count` pixels lay down, in reading order: a kernel of odd side, stride 1, padded to the same size.
 * @param {Float32Array} values @param {number} width @param {number} height @param {number[][]} kernel
 * @param {number} count */
function superposed(values, width, height, kernel, count) {
  const sum = new Float32Array(width * height), reach = (kernel.length - 1) / 2;
  for (let at = 0; at < count; at++) {
    if (!values[at]) continue;
    const y = Math.floor(at / width), x = at % width;
    for (let i = 0; i < kernel.length; i++) {
      for (let j = 0; j < kernel.length; j++) {
        const row = y - i + reach, column = x - j + reach;
        if (row >= 0 && row < height && column >= 0 && column < width) {
          sum[row * width + column] += values[at] * kernel[i][j];
        }
      }
    }
  }
  return sum;
}

customElements.define("superposition-view", SuperpositionView);
