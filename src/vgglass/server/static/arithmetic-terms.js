// The terms of one output, by kind of layer.
import { make } from "./element.js";
import { exact, fill, number, words } from "./words.js";

/** @typedef {import("./api.js").Terms} Terms */
/** @typedef {import("./api.js").Step} Step */
/** @template {keyof Terms} K @typedef {import("./api.js").StepOf<K>} StepOf */

const FIRST = 3; // input channels of a convolution shown initially

/** A line of arithmetic. @param {string} text with {} for each value @param {...(string | number)} values */
export const total = (text, ...values) => make("p", { class: "sum" }, fill(text, ...values));

/** @param {Step} step @returns {HTMLElement[]} */
export function termsOf(step) {
  switch (step.kind) {
    case "conv": return convolution(step);
    case "maxpool": return pooling(step);
    case "avgpool": return averaging(step);
    case "linear": return connected(step);
    case "softmax": return [softmax(step)];
    case "relu": return [total(words.reluTerm, exact(step.terms.x), exact(step.recomputed))];
    case "dropout": return [total(words.dropoutTerm, exact(step.terms.x))];
    case "batchnorm": return [normalisation(step)];
    case "lrn": return [responseNormalisation(step)];
  }
}

/** @param {StepOf<"softmax">} step */
function softmax({ terms: { logit, largest, exponential, total: sum }, recomputed }) {
  return total(words.softmaxTerm, number(logit), number(largest), exact(exponential), exact(sum), exact(recomputed));
}

/** @param {StepOf<"batchnorm">} step */
function normalisation({ terms: { x, mean, variance, epsilon, scale, shift }, recomputed }) {
  return total(
    words.bnTerm, exact(x), exact(mean), exact(variance), epsilon, exact(scale), exact(shift), exact(recomputed),
  );
}

/** @param {StepOf<"lrn">} step */
function responseNormalisation({ terms: { x, squares, divisor, first, neighbours }, recomputed }) {
  const last = first + neighbours.length - 1;
  return total(words.lrnTerm, exact(x), exact(squares), exact(x), exact(divisor), exact(recomputed), first, last);
}

/** @param {string} caption @param {readonly number[][]} rows
 * @param {{inside?: boolean[][], winner?: readonly number[] | null}} [marks] */
function numbers(caption, rows, { inside, winner } = {}) {
  const table = make("table", {}, make("caption", { class: "hidden" }, caption));
  for (const [i, row] of rows.entries()) {
    table.append(make("tr", {}, ...row.map((value, j) => {
      const won = winner && winner[0] === i && winner[1] === j, padding = inside && !inside[i][j];
      const style = won ? "winner" : padding ? "outside" : null;
      return make("td", { class: style, title: padding ? words.inPadding : null }, number(value));
    })));
  }
  return table;
}

/** @param {StepOf<"conv">} step */
function convolution({ terms, recomputed }) {
  const { channel_sums: sums, values, kernel, products, inside } = terms, side = kernel[0].length;
  const order = [...sums.keys()].sort((one, other) => Math.abs(sums[other]) - Math.abs(sums[one]));
  const channel = (/** @type {number} */ index) => make("div", { class: "windows", "data-input": index },
    make("span", {}, fill(words.inputChannel, index)),
    numbers(words.patch, values[index], { inside }), "×", numbers(words.kernel, kernel[index]), "=",
    numbers(words.products, products[index]), make("span", { class: "sum" }, "Σ = " + number(sums[index])));
  const first = order.slice(0, FIRST), rest = order.slice(FIRST);
  const parts = [
    make("p", { class: "note" }, fill(words.convNote, values.length, side, side, first.length)),
    ...first.map(channel),
    ...(rest.length ? [onRequest(fill(words.allChannels, rest.length), () => rest.map(channel))] : []),
  ];
  return [...parts, total(words.convSum, sums.length, exact(terms.sum), exact(terms.bias), exact(recomputed))];
}

/** A <details> element with lazily built content. @param {string} summary @param {() => HTMLElement[]} content */
function onRequest(summary, content) {
  const details = make("details", {}, make("summary", {}, summary));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(...content());
  });
  return details;
}

/** @param {StepOf<"maxpool">} step */
function pooling({ terms: { values, inside, poolings: { max, min, avg } } }) {
  const figure = (/** @type {string} */ text, /** @type {import("./api.js").Pooling} */ { result, winner }) => {
    const name = fill(text, number(result));
    return make("figure", {}, numbers(name, values[0], { inside, winner }), make("figcaption", {}, name));
  };
  const figures = [figure(words.poolMax, max), figure(words.poolMin, min), figure(words.poolAvg, avg)];
  return [make("div", { class: "windows" }, ...figures), make("p", { class: "note" }, words.poolNote)];
}

/** @param {StepOf<"avgpool">} step */
function averaging({ terms, recomputed }) {
  return [
    make("div", { class: "tableBox", tabindex: "0" }, numbers(words.patch, terms.values[0], terms)),
    total(words.averageTerm, terms.count, exact(terms.total), terms.count, exact(recomputed)),
  ];
}

/** @param {StepOf<"linear">} step */
function connected({ terms, recomputed }) {
  const { before, count, largest, rest, positive, negative, sum, bias } = terms;
  const rows = largest.map(({ channel, row, column, input, weight, product }) => {
    const mapped = row || column || before === "pool5";
    const name = fill(words.inputOf, before, channel) + (mapped ? fill(words.inputAt, row, column) : "");
    return [name, number(input), number(weight), number(product)];
  });
  return [
    make("p", { class: "note" }, fill(words.fcNote, count.toLocaleString("en"), rows.length, number(rest))),
    list([words.input, words.inputValue, words.weight, words.product], rows),
    total(words.fcSum, number(positive), number(negative), exact(sum), exact(bias), exact(recomputed)),
  ];
}

/** @param {readonly string[]} head @param {readonly string[][]} rows the first cell of each heads it */
export function list(head, rows) {
  const heads = head.map(cell => make("th", { scope: "col" }, cell));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)));
  for (const [first, ...rest] of rows) {
    table.append(make("tr", {}, make("th", { scope: "row" }, first), ...rest.map(cell => make("td", {}, cell))));
  }
  return make("div", { class: "tableBox", tabindex: "0" }, table);
}
