// The terms of one output, by kind of layer.
import { fill, make } from "./ui.js";
import { exact, number, words } from "./words.js";

/** @typedef {import("./api.js").Terms} Terms */
/** @typedef {import("./api.js").Step} Step */
/** @template {keyof Terms} K @typedef {import("./api.js").StepOf<K>} StepOf */

const FIRST = 3; // input channels of a convolution shown initially

/** A line of arithmetic. @param {string} text @param {import("./ui.js").Values} values for its placeholders */
export const total = (text, values) => make("p", { class: "sum" }, fill(text, values));

/** @param {Step} step @returns {HTMLElement[]} */
export function termsOf(step) {
  switch (step.kind) {
    case "conv": return convolution(step);
    case "maxpool": return pooling(step);
    case "avgpool": return averaging(step);
    case "linear": return connected(step);
    case "softmax": return [softmax(step)];
    case "relu": return [total(words.reluTerm, { input: exact(step.terms.x), result: exact(step.recomputed) })];
    case "dropout": return [total(words.dropoutTerm, { input: exact(step.terms.x) })];
    case "batchnorm": return [normalisation(step)];
    case "lrn": return [responseNormalisation(step)];
  }
}

/** @param {StepOf<"softmax">} step */
function softmax({ terms: { logit, largest, exponential, total: sum }, recomputed }) {
  return total(words.softmaxTerm, {
    logit: number(logit), largest: number(largest), exponential: exact(exponential), total: exact(sum),
    result: exact(recomputed),
  });
}

/** @param {StepOf<"batchnorm">} step */
function normalisation({ terms: { x, mean, variance, epsilon, scale, shift }, recomputed }) {
  return total(words.bnTerm, {
    input: exact(x), mean: exact(mean), variance: exact(variance), epsilon, scale: exact(scale), shift: exact(shift),
    result: exact(recomputed),
  });
}

/** @param {StepOf<"lrn">} step */
function responseNormalisation({ terms: { x, squares, divisor, first, neighbours }, recomputed }) {
  return total(words.lrnTerm, {
    input: exact(x), squares: exact(squares), dividend: exact(x), divisor: exact(divisor), result: exact(recomputed),
    first, last: first + neighbours.length - 1,
  });
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
    make("span", {}, fill(words.inputChannel, { channel: index })),
    numbers(words.patch, values[index], { inside }), "×", numbers(words.kernel, kernel[index]), "=",
    numbers(words.products, products[index]), make("span", { class: "sum" }, "Σ = " + number(sums[index])));
  const first = order.slice(0, FIRST), rest = order.slice(FIRST);
  const parts = [
    make("p", { class: "note" }, fill(words.convNote, {
      channels: values.length, height: side, width: side, shown: first.length,
    })),
    ...first.map(channel),
    ...(rest.length ? [onRequest(fill(words.allChannels, { channels: rest.length }), () => rest.map(channel))] : []),
  ];
  return [...parts, total(words.convSum, {
    channels: sums.length, sum: exact(terms.sum), bias: exact(terms.bias), result: exact(recomputed),
  })];
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
    const name = fill(text, { value: number(result) });
    return make("figure", {}, numbers(name, values[0], { inside, winner }), make("figcaption", {}, name));
  };
  const figures = [figure(words.poolMax, max), figure(words.poolMin, min), figure(words.poolAvg, avg)];
  return [make("div", { class: "windows" }, ...figures), make("p", { class: "note" }, words.poolNote)];
}

/** @param {StepOf<"avgpool">} step */
function averaging({ terms, recomputed }) {
  return [
    make("div", { class: "tableBox", tabindex: "0" }, numbers(words.patch, terms.values[0], terms)),
    total(words.averageTerm, {
      count: terms.count, total: exact(terms.total), divisor: terms.count, result: exact(recomputed),
    }),
  ];
}

/** @param {StepOf<"linear">} step */
function connected({ terms, recomputed }) {
  const { before, count, largest, rest, positive, negative, sum, bias } = terms;
  const rows = largest.map(({ channel, row, column, input, weight, product }) => {
    const mapped = row || column || before === "pool5";
    const name = fill(words.inputOf, { layer: before, channel }) + (mapped ? fill(words.inputAt, { row, column }) : "");
    return [name, number(input), number(weight), number(product)];
  });
  return [
    make("p", { class: "note" }, fill(words.fcNote, {
      products: count.toLocaleString("en"), shown: rows.length, rest: number(rest),
    })),
    list([words.input, words.inputValue, words.weight, words.product], rows),
    total(words.fcSum, {
      positive: number(positive), negative: number(negative), sum: exact(sum), bias: exact(bias),
      result: exact(recomputed),
    }),
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
