// One number's operation as pictures: the window, the kernel and their products in their maps' colours; the same cell
// of all of them lights up under the pointer.
import { fetchClassMap } from "./api.js";
import { paint } from "./colours.js";
import { colour, PageElement, pictureSides, sized } from "./element.js";
import { attempt } from "./failures.js";
import { shownInput } from "./seen.js";
import { get, patch, touches } from "./store.js";
import { fill, make } from "./ui.js";
import { number, words } from "./words.js";

/** @typedef {import("./api.js").Step} Step */
/** @template {keyof import("./api.js").Terms} K @typedef {import("./api.js").StepOf<K>} StepOf */
/** @typedef {{caption: string, rows: readonly number[][], signed: boolean, end?: number, inside?: boolean[][],
 *   winner?: readonly number[] | null}} Cells */

const LARGEST = 37, NAMED = 8; // CSS pixels of a cell; contributions shown of a vector

class WindowPictures extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["step", "maps", "layer", "inputChannel", "lit", "language", "colourScheme", "channel", "cell"];
  #box = this.child("#windows", HTMLElement);

  connectedCallback() {
    super.connectedCallback();
    this.#box.addEventListener("pointerover", event => {
      const cell = event.target instanceof HTMLElement ? event.target.dataset.cell : undefined;
      const [row, column] = (cell ?? "").split(",").map(Number);
      patch({ lit: cell ? [row, column] : null });
    });
    this.#box.addEventListener("pointerleave", () => patch({ lit: null }));
  }

  /** @param {import("./store.js").Changed} changed */
  update(changed) {
    const { step, layer, model, lit } = get();
    if (layer === "image") this.#box.replaceChildren(make("div", {}, ...normalised()));
    else if (step?.layer === layer && model?.glass && touches(changed, "step", "inputChannel", "language", "layer")) {
      this.#box.replaceChildren(...pictures(step));
      if (step.kind === "linear" && !step.terms.windows) this.#addClassMap(step);
    }
    for (const each of this.querySelectorAll("td")) each.classList.toggle("lit", each.dataset.cell === lit?.join(","));
  }

  /** A pooled head's logit is exactly the mean of a score for each place of pool5. @param {Step} step */
  async #addClassMap(step) {
    const { image, model } = get();
    if (!image || !model?.glass || model.head !== "pooled") return;
    const found = await attempt("step", () => fetchClassMap(image, step.channel, null));
    if (!found || step !== get().step) return;
    const map = cells({ caption: words.places, rows: found.scores, signed: true });
    for (const cell of map.querySelectorAll("td")) delete cell.dataset.cell; // of pool5, not of the layer before
    this.#box.append(map);
  }
}

/** @param {Step} step @returns {HTMLElement[]} */
function pictures(step) {
  switch (step.kind) {
    case "conv": {
      const { values, kernel, products, inside } = step.terms, shown = shownInput(step);
      return products3(values[shown], kernel[shown], products[shown], inside);
    }
    case "linear": return connected(step);
    case "maxpool": return pooling(step);
    case "avgpool": return [cells({ caption: words.patch, rows: step.terms.values[0], signed: false }), sign("→ Ø")];
    case "relu": return [sign("→"), rectifier(step.terms.x), sign("→")];
    case "batchnorm": {
      const { x, mean, variance, epsilon, scale, shift } = step.terms, centred = x - mean;
      const whitened = centred / Math.sqrt(variance + epsilon);
      return chain([["x", x], ["− mean", centred], ["÷ √var", whitened], ["× scale", whitened * scale],
        ["+ shift", whitened * scale + shift]]);
    }
    case "lrn": return chain([["x", step.terms.x], ["÷", step.terms.divisor], ["=", step.recomputed]]);
    case "dropout": return [sign("→")];
    case "softmax": return [sign("→")];
  }
}

/** A window times a kernel is their products. @param {number[][]} values @param {number[][]} kernel
 * @param {number[][]} products @param {boolean[][]} [inside] */
function products3(values, kernel, products, inside) {
  return [
    cells({ caption: words.patch, rows: values, signed: values.flat().some(value => value < 0), inside }), sign("×"),
    cells({ caption: words.kernel, rows: kernel, signed: true }), sign("="),
    cells({ caption: words.products, rows: products, signed: true }), sign("Σ"),
  ];
}

/** @param {StepOf<"linear">} step */
function connected(step) {
  const { windows, places, largest, count, before } = step.terms;
  if (!windows || !places) {
    const end = Math.max(...largest.map(each => Math.abs(each.product)));
    return [make("div", {}, ...largest.slice(0, NAMED).map(({ channel, input, weight, product }) => {
      const level = make("div", { class: "fill" }), track = make("div", { class: "track" }, level);
      level.style.width = (100 * Math.abs(product)) / end + "%";
      level.style.background = `var(--${product < 0 ? "minus" : "plus"})`;
      const text = `${before} ${channel}: ${number(input)} × ${number(weight)} = ${number(product)}`;
      return make("div", { class: "term" }, make("small", {}, text), track);
    }), make("p", { class: "note" }, fill(words.ofProducts, { shown: NAMED, count: count.toLocaleString("en") })))];
  }
  const shown = windows.find(each => each.channel === shownInput(step)) ?? windows[0];
  return [
    ...products3(shown.values, shown.kernel, shown.products),
    cells({ caption: words.headPlaces, rows: places, signed: true }),
  ];
}

/** @param {StepOf<"maxpool">} step */
function pooling({ layer, terms: { values, inside, poolings: { max } } }) {
  const { model } = get(), found = model?.glass && model.layers.find(each => each.name === layer);
  const channels = found ? found.shape[2] : 0, weights = (9 * channels * channels).toLocaleString("en");
  return [
    cells({ caption: words.patch, rows: values[0], signed: values[0].flat().some(value => value < 0), inside,
      winner: max.winner }),
    sign("→ max"),
    make("div", { class: "noWeights note" }, make("strong", {}, words.noWeights), make("br"),
      fill(words.noWeightsBeside, { channels, weights })),
  ];
}

/** The pixels of the chosen cell as the network takes them in, channel by channel in its order. */
function normalised() {
  const { maps, cell, model, channel } = get();
  if (!maps || maps.name !== "image" || !cell || !model?.glass) return [];
  const { order, mean, std } = model.input, area = maps.width * maps.height, at = cell[0] * maps.width + cell[1];
  return [...order].map((letter, i) => {
    const value = maps.values[i * area + at], name = words.colours[/** @type {keyof typeof words.colours} */ (letter)];
    return make("div", { class: i === channel ? "sum" : "sum note" }, fill(words.normalise, {
      colour: name, value: number(value), mean: number(mean[i]), std: number(std[i]),
      result: number((value - mean[i]) / std[i]),
    }));
  });
}

/** Numbers that follow one another, each under what makes it. @param {readonly (readonly [string, number])[]} values */
function chain(values) {
  const end = Math.max(...values.map(([, value]) => Math.abs(value)));
  return values.map(([caption, value]) => cells({ caption, rows: [[value]], signed: true, end }));
}

/** max(0, x) with its number on it. @param {number} x */
function rectifier(x) {
  const side = pictureSides().window, middle = side / 2, reach = Math.max(Math.abs(x) * 1.4, 1e-6);
  const canvas = make("canvas", {
    role: "img", "aria-label": fill(words.reluTerm, { input: number(x), result: number(Math.max(0, x)) }),
  });
  const context = sized(canvas, side, side), place = (/** @type {number} */ value) => (value / reach) * middle;
  context.strokeStyle = colour("line");
  context.strokeRect(0.5, 0.5, side - 1, side - 1);
  line(context, colour("line"), 1, [[0, middle], [side, middle]]);
  line(context, colour("line"), 1, [[middle, 0], [middle, side]]);
  line(context, colour("blue"), 2, [[0, middle], [middle, middle], [side, 0]]);
  line(context, colour("soft"), 1, [[middle + place(x), middle - Math.min(0, place(x))],
    [middle + place(x), middle - Math.max(0, place(x))]]);
  context.fillStyle = colour(x > 0 ? "plus" : "minus");
  context.beginPath();
  context.arc(middle + place(x), middle - Math.max(0, place(x)), 5, 0, 7);
  context.fill();
  const said = fill(x > 0 ? words.kept : words.clipped, { value: number(x) });
  return make("figure", {}, canvas, make("figcaption", {}, said));
}

/** @param {CanvasRenderingContext2D} context @param {string} stroke @param {number} width
 * @param {readonly (readonly [x: number, y: number])[]} points */
function line(context, stroke, width, points) {
  context.strokeStyle = stroke;
  context.lineWidth = width;
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.stroke();
}

/** @param {string} text */
const sign = text => make("span", { class: "sign", "aria-hidden": "true" }, text);

/** Numbers as cells in their map's colours. @param {Cells} cells */
function cells({ caption, rows, signed, end = 0, inside, winner }) {
  const most = end || Math.max(...rows.flat().map(Math.abs));
  const side = Math.min(LARGEST, Math.floor(pictureSides().window / rows.length));
  const table = make("table", { class: "cells" }, make("caption", {}, caption));
  table.style.setProperty("--cell", side + "px");
  for (const [i, row] of rows.entries()) {
    table.append(make("tr", {}, ...row.map((value, j) => {
      const { back, ink } = paint(value, most, signed), padding = inside && !inside[i][j];
      const won = winner?.[0] === i && winner[1] === j, text = side < 26 ? "" : short(value);
      const cell = make("td", {
        "data-cell": i + "," + j, class: won ? "winner" : padding ? "outside" : null,
        title: padding ? words.inPadding : number(value),
      }, text);
      if (!padding) Object.assign(cell.style, { background: back, color: ink });
      return cell;
    })));
  }
  return table;
}

/** At most five characters. @param {number} value */
function short(value) {
  const size = Math.abs(value), digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.01 ? 2 : 3;
  const text = size >= 10000 ? Math.round(value / 1000) + "k" : size < 0.0005 ? "0" : value.toFixed(digits);
  return text.replace("-", "−").replace(/^(−?)0\.(...)/, "$1.$2");
}

customElements.define("window-pictures", WindowPictures);
