// Playground for pooling and convolution with adjustable size, stride and padding, computed in the browser.
import { fetchNumbers } from "./api.js";
import { ARROWS, clip, PageElement, sized } from "./element.js";
import { compute, outputOf, windowAt, winner } from "./operations.js";
import { get, touches } from "./store.js";
import { fill, make } from "./ui.js";
import { number, words } from "./words.js";

/** @typedef {import("./operations.js").Geometry} Geometry */
/** @typedef {Geometry & {operation: import("./operations.js").Operation, size: number}} Settings */
/** @typedef {keyof Geometry | "size"} Field */

/** Minimum and maximum of each setting. @type {Record<Field, [number, number]>} */
const FIELDS = { size: [1, 24], kernel: [1, 24], stride: [1, 24], padding: [0, 12], dilation: [1, 12] };
/** @type {Record<keyof typeof words.presets, Settings>} */
const PRESETS = {
  note: { operation: "max", size: 12, kernel: 6, stride: 2, padding: 0, dilation: 1 },
  vggPool: { operation: "max", size: 12, kernel: 2, stride: 2, padding: 0, dilation: 1 },
  vggConv: { operation: "conv", size: 12, kernel: 3, stride: 1, padding: 1, dilation: 1 },
};
/** @type {import("./operations.js").Operation[]} */
const OPERATIONS = ["max", "min", "avg", "conv"];
const PACE = 450, LISTED = 36, WIDEST = 430; // milliseconds per cell; maximum numbers listed; grid width in pixels

class OperationPlayground extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "photo", "colourScheme"];
  #controls = this.child("#controls", HTMLFormElement);
  #output = this.child("#playOutput", HTMLCanvasElement);
  #settings = { ...PRESETS.note };
  /** @type {import("./store.js").Cell} */
  #cell = [0, 0];
  #ownPixels = false;
  #timer = 0;
  #turn = 0;
  /** The input and its cache key. @type {{key: string, values: number[][]}} */
  #input = { key: "", values: [] };
  /** @type {import("./operations.js").Result | null} */
  #result = null;

  connectedCallback() {
    super.connectedCallback();
    this.#controls.addEventListener("submit", event => event.preventDefault());
    this.#output.addEventListener("pointermove", event => {
      const side = this.#result?.outputs.length;
      if (!side || this.#timer) return;
      const { left, top, width, height } = this.#output.getBoundingClientRect();
      const row = ((event.clientY - top) / height) * side, column = ((event.clientX - left) / width) * side;
      this.#select(Math.floor(row), Math.floor(column));
    });
    this.#output.addEventListener("keydown", event => {
      const move = ARROWS.get(event.key);
      if (!move || !this.#result?.outputs.length) return;
      event.preventDefault();
      this.#select(this.#cell[0] + move[0], this.#cell[1] + move[1]);
    });
  }

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    if (!get().model?.glass) return;
    if (touches(changed, "model", "language")) this.#drawControls();
    if (!changed.has("photo") || this.#ownPixels) await this.#compute();
  }

  #drawControls() {
    const operation = make("select", { id: "operation" }, ...OPERATIONS.map(name =>
      make("option", { value: name, selected: name === this.#settings.operation }, words.operations[name])));
    operation.addEventListener("change", () => this.#change({ operation: OPERATIONS[operation.selectedIndex] }));
    const fields = /** @type {Field[]} */ (Object.keys(FIELDS)).map(name => {
      const [min, max] = FIELDS[name], value = this.#settings[name];
      const input = make("input", { type: "number", id: name, min, max, value });
      input.addEventListener("input", () => this.#enter(name, input.value));
      return make("label", {}, label(name), input);
    });
    const presets = /** @type {(keyof typeof PRESETS)[]} */ (Object.keys(PRESETS)).map(name =>
      make("button", { type: "button", "data-preset": name, onclick: () => this.#preset(name) }, words.presets[name]));
    const pixels = make("button", {
      type: "button", id: "own", "aria-pressed": String(this.#ownPixels), onclick: () => this.#togglePixels(),
    }, words.ownPixels);
    const play = make("button", {
      type: "button", id: "slidePlay", "aria-pressed": String(this.#timer > 0), onclick: () => this.#play(),
    }, this.#timer ? words.pause : words.play);
    const focused = document.activeElement?.id;
    this.#controls.replaceChildren(
      make("label", {}, words.operation, operation), ...fields,
      make("div", { class: "choices" }, ...presets, pixels, play),
    );
    for (const control of this.#controls.elements) {
      if (control instanceof HTMLElement && focused && control.id === focused) control.focus();
    }
  }

  /** @param {Partial<Settings>} settings */
  #change(settings) {
    this.#settings = { ...this.#settings, ...settings };
    return this.#compute();
  }

  /** @param {Field} name @param {string} text */
  #enter(name, text) {
    const value = Number(text), [least, most] = FIELDS[name];
    if (text === "" || !Number.isInteger(value) || value < least || value > most) {
      return this.#refuse(fill(words.outOfRange, { name: label(name), least, most }));
    }
    return this.#change({ [name]: value });
  }

  /** @param {keyof typeof PRESETS} name */
  #preset(name) {
    this.#settings = { ...PRESETS[name] };
    this.#cell = [0, 0];
    this.#drawControls();
    return this.#compute();
  }

  #togglePixels() {
    this.#ownPixels = !this.#ownPixels;
    this.#drawControls();
    return this.#compute();
  }

  /** @param {string} problem '' if there is none */
  #refuse(problem) {
    const warning = this.child("#invalid", HTMLElement);
    warning.hidden = !problem;
    warning.textContent = problem;
    this.child("#playing", HTMLElement).hidden = Boolean(problem);
    this.child("#playSaid", HTMLElement).textContent = "";
  }

  /** Fetch the input only if size or image has changed. */
  async #compute() {
    const turn = ++this.#turn, { size, operation, kernel, padding } = this.#settings;
    const image = this.#ownPixels ? get().image : null, key = size + " " + (image?.id ?? "");
    if (this.#input.key !== key) {
      const { values } = await fetchNumbers(size, image);
      if (turn !== this.#turn) return;
      this.#input = { key, values };
    }
    const result = (this.#result = compute(this.#input.values, operation, this.#settings));
    this.child("#formula", HTMLElement).textContent = fill(words.formula, { result: result.formula });
    const { problem, span, room } = result;
    if (problem === "window") return this.#refuse(fill(words.invalidWindow, { span, room }));
    if (problem === "padding") return this.#refuse(fill(words.invalidPadding, { padding, kernel }));
    this.#refuse("");
    this.#select(...this.#cell, true);
  }

  /** @param {number} row @param {number} column @param {boolean} [again] though it is the same cell */
  #select(row, column, again = false) {
    const side = this.#result?.outputs.length;
    if (!side) return;
    const [chosenRow, chosenColumn] = [clip(row, side), clip(column, side)];
    if (!again && chosenRow === this.#cell[0] && chosenColumn === this.#cell[1]) return;
    this.#cell = [chosenRow, chosenColumn];
    this.#draw();
  }

  #draw() {
    const { operation } = this.#settings, { values } = this.#input, outputs = this.#result?.outputs ?? [];
    const window = windowAt(values, this.#settings, ...this.#cell), won = winner(window, operation);
    this.#describe(window);
    this.#drawInput(window, won);
    const side = outputs.length, cell = Math.max(8, Math.min(40, Math.floor(this.#room() / side)));
    const most = Math.max(...outputs.flat().map(Math.abs), 1), context = grid(this.#output, side, cell);
    for (const [i, row] of outputs.entries()) {
      for (const [j, value] of row.entries()) square(context, j, i, cell, value, most);
    }
    ring(context, this.#cell[1], this.#cell[0], cell, "#ffd400", 3);
    this.#output.setAttribute("aria-label", fill(words.playOutputLabel, { rows: side, columns: side }));
  }

  /** Pixels for a grid. */
  #room() {
    return Math.min(WIDEST, this.child("#playing", HTMLElement).clientWidth || WIDEST);
  }

  /** @param {import("./operations.js").Window} window @param {[number, number] | null} won */
  #drawInput(window, won) {
    const { padding, kernel, dilation } = this.#settings, { values } = this.#input, size = values.length;
    const room = size + 2 * padding, cell = Math.max(8, Math.floor(this.#room() / room));
    const canvas = this.child("#playInput", HTMLCanvasElement), context = grid(canvas, room, cell);
    const most = Math.max(...values.flat(), 1);
    for (let i = 0; i < room; i++) {
      for (let j = 0; j < room; j++) square(context, j, i, cell, values[i - padding]?.[j - padding] ?? null, most);
    }
    for (let i = 0; i < kernel; i++) {
      for (let j = 0; j < kernel; j++) {
        const row = window.top + padding + i * dilation, column = window.left + padding + j * dilation;
        const best = won && won[0] === i && won[1] === j;
        ring(context, column, row, cell, best ? "#d9730d" : "#ffd400", best ? 4 : 2);
      }
    }
    canvas.setAttribute("aria-label", fill(words.playInputLabel, { rows: size, columns: size }));
  }

  /** @param {import("./operations.js").Window} window */
  #describe(window) {
    const { operation } = this.#settings, zeros = ["conv", "avg"].includes(operation); // padding counts as zeros
    const values = window.values.flatMap((row, i) => row.filter((_, j) => zeros || window.inside[i][j]));
    const listed = values.slice(0, LISTED).map(number).join(", ") + (values.length > LISTED ? ", …" : "");
    const [row, column] = this.#cell, result = number(outputOf(window, operation));
    this.child("#playSaid", HTMLElement).textContent =
      fill(words.windowResult[operation], { row, column, values: listed, result });
  }

  #play() {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = this.#timer ? 0 : setInterval(() => this.#advance(), PACE);
    this.#drawControls();
  }

  #advance() {
    const side = this.#result?.outputs.length;
    if (!side) return;
    const next = (this.#cell[0] * side + this.#cell[1] + 1) % (side * side);
    this.#select(Math.floor(next / side), next % side);
  }
}

/** @param {Field} name */
const label = name => words[name === "kernel" ? "windowSide" : name];

/** Resize a canvas to a square of cells.
 * @param {HTMLCanvasElement} canvas @param {number} side @param {number} cell */
function grid(canvas, side, cell) {
  const context = sized(canvas, side * cell + 2, side * cell + 2);
  context.font = Math.min(14, Math.floor(cell / 2.3)) + "px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  return context;
}

/** @param {CanvasRenderingContext2D} context @param {number} column @param {number} row @param {number} cell
 * @param {number | null} value null in the padding @param {number} most */
function square(context, column, row, cell, value, most) {
  const left = column * cell + 1, top = row * cell + 1;
  const strength = 0.06 + 0.5 * Math.min(1, Math.abs(value ?? 0) / most);
  context.strokeStyle = "#8888";
  context.lineWidth = 1;
  context.strokeRect(left + 0.5, top + 0.5, cell - 1, cell - 1);
  context.fillStyle = value === null ? "#8883" : `rgba(26, 95, 208, ${strength})`;
  context.fillRect(left, top, cell, cell);
  if (cell < 20) return;
  context.fillStyle = getComputedStyle(document.body).color;
  const text = value === null ? "0" : String(Number(value.toFixed(Math.abs(value) < 10 && value % 1 ? 1 : 0)));
  context.fillText(text, left + cell / 2, top + cell / 2, cell - 2);
}

/** @param {CanvasRenderingContext2D} context @param {number} column @param {number} row @param {number} cell
 * @param {string} colour @param {number} line */
function ring(context, column, row, cell, colour, line) {
  for (const [shade, width] of /** @type {const} */ ([["#000a", line + 2], [colour, line]])) {
    context.strokeStyle = shade;
    context.lineWidth = width;
    context.strokeRect(column * cell + 2, row * cell + 2, cell - 2, cell - 2);
  }
}

customElements.define("operation-playground", OperationPlayground);
