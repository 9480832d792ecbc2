// One number term by term: what was multiplied by what, and that it is the network's own.
import { json, query } from "./api.js";
import { at, fill, make, number, say } from "./words.js";

const FIRST = 3;  // input channels of a convolution that are shown before one asks for all

/** Nine digits: what float32 holds. @param {number | null} x */
export const exact = x => x === null ? "–" : String(Number(x.toPrecision(9))).replace("-", "−");

/** @param {any} state of the page @param {any} told what GET …/steps answered */
export function showArithmetic(state, told) {
  const box = at("arithmetic"), { kind, terms } = told;
  const open = box.querySelector("details")?.open;
  const title = make("p", {}, fill(say.stepTitle, told.layer, told.channel, ...told.position));
  box.replaceChildren(title, ...KINDS[kind](state, told, terms), ...relu(told), verdict(told), make("p", { class: "note" }, fill(say.precision, state.image.engine, state.image.precision)));
  const details = box.querySelector("details");
  if (open && details) details.open = true;
  Object.assign(box.dataset, { layer: told.layer, channel: told.channel, at: told.position.join(","), recomputed: told.recomputed, network: told.network });
}

function verdict(told) {
  const text = fill(say.verdict, exact(told.recomputed), exact(told.network), told.difference.toPrecision(2), told.bound.toPrecision(2));
  return make("p", { class: "sum " + (told.agrees ? "good" : "bad"), id: "verdict" }, (told.agrees ? "✓ " : "✗ ") + text);
}

function relu(told) {
  return told.after ? [line(fill(say.thenRelu, told.after.layer, exact(told.recomputed), exact(told.after.recomputed), exact(told.after.network)))] : [];
}

const line = text => make("p", { class: "sum" }, text);

/** @param {string} caption @param {number[][]} rows @param {{inside?: boolean[][], winner?: number[] | null}} [marks] */
function numbers(caption, rows, marks = {}) {
  const table = make("table", {}, make("caption", { class: "hidden" }, caption));
  rows.forEach((row, i) => table.append(make("tr", {}, ...row.map((value, j) => {
    const won = marks.winner && marks.winner[0] === i && marks.winner[1] === j, out = marks.inside && !marks.inside[i][j];
    return make("td", { class: won ? "winner" : out ? "outside" : null, title: out ? say.inPadding : null }, number(value));
  }))));
  return table;
}

function convolution(state, told, terms) {
  const order = terms.channel_sums.map((sum, channel) => channel).sort((a, b) => Math.abs(terms.channel_sums[b]) - Math.abs(terms.channel_sums[a]));
  const channel = index => make("div", { class: "windows", "data-input": index },
    make("span", {}, fill(say.inputChannel, index)),
    numbers(say.patch, terms.values[index], terms), "×", numbers(say.kernel, terms.kernel[index]), "=",
    numbers(say.products, terms.products[index]), make("span", { class: "sum" }, "Σ = " + number(terms.channel_sums[index])));
  const shown = order.slice(0, FIRST).map(channel), rest = order.slice(FIRST);
  const parts = [make("p", { class: "note" }, fill(say.convNote, terms.values.length, terms.kernel[0].length, terms.kernel[0].length, shown.length)), ...shown];
  if (rest.length) {
    const details = make("details", {}, make("summary", {}, fill(say.allChannels, rest.length)));
    details.addEventListener("toggle", () => { if (details.open && details.children.length === 1) details.append(...rest.map(channel)); });
    parts.push(details);
  }
  return [...parts, line(fill(say.convSum, terms.channel_sums.length, exact(terms.sum), exact(terms.bias), exact(told.recomputed)))];
}

function pooling(state, told, terms) {
  const { max, min, avg } = terms.poolings;
  const window = (name, marks) => make("figure", {}, numbers(name, terms.values[0], { inside: terms.inside, ...marks }), make("figcaption", {}, name));
  return [
    make("div", { class: "windows" },
      window(fill(say.poolMax, number(max.result)), { winner: max.winner }), window(fill(say.poolMin, number(min.result)), { winner: min.winner }), window(fill(say.poolAvg, number(avg.result)), {})),
    make("p", { class: "note" }, say.poolNote),
  ];
}

function averaging(state, told, terms) {
  return [make("div", { class: "tableBox", tabindex: "0" }, numbers(say.patch, terms.values[0], terms)), line(fill(say.averageTerm, terms.count, exact(terms.total), terms.count, exact(told.recomputed)))];
}

function connected(state, told, terms) {
  const rows = terms.largest.map(row => [
    fill(say.inputOf, terms.before, row.channel) + (row.row || row.column || terms.before === "pool5" ? fill(say.inputAt, row.row, row.column) : ""),
    number(row.input), number(row.weight), number(row.product),
  ]);
  return [
    make("p", { class: "note" }, fill(say.fcNote, terms.count.toLocaleString("en"), rows.length, number(terms.rest))),
    list([say.input, say.inputValue, say.weight, say.product], rows),
    line(fill(say.fcSum, number(terms.positive), number(terms.negative), exact(terms.sum), exact(terms.bias), exact(told.recomputed))),
  ];
}

/** @param {string[]} head @param {string[][]} rows */
function list(head, rows) {
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...head.map(cell => make("th", { scope: "col" }, cell)))));
  for (const row of rows) table.append(make("tr", {}, ...row.map((cell, i) => i ? make("td", {}, cell) : make("th", { scope: "row" }, cell))));
  return make("div", { class: "tableBox", tabindex: "0" }, table);
}

function share(state, told, terms) {
  const table = make("div", { id: "softmax" }), value = make("output", {}, "1");
  const slider = make("input", { type: "range", id: "temperature", min: -2, max: 2, step: 0.05, value: 0, "aria-label": say.temperature });
  let turn = 0;
  async function draw() {
    const mine = ++turn, temperature = Number((10 ** Number(slider.value)).toPrecision(3));
    value.textContent = String(temperature);
    const found = await json("glass/images/" + state.image.id + "/softmax" + query({ temperature, channel: told.channel }));
    if (mine !== turn) return;
    table.replaceChildren(
      list([say.class, "z", "z / T", "z / T − max", "exp", say.probability], found.rows.map(row => [row.class, ...["logit", "scaled", "shifted", "exponential", "probability"].map(name => number(row[name]))])),
      line(fill(say.softmaxSum, exact(found.total))),
    );
  }
  slider.addEventListener("input", draw);
  draw();
  return [
    line(fill(say.softmaxTerm, number(terms.logit), number(terms.largest), exact(terms.exponential), exact(terms.total), exact(told.recomputed))),
    make("label", { class: "slider" }, say.temperature, slider, value), table,
    ...(state.model.temperature ? [make("p", { class: "note" }, fill(say.ownTemperature, number(state.model.temperature)))] : []),
  ];
}

const KINDS = {
  conv: convolution,
  maxpool: pooling,
  avgpool: averaging,
  linear: connected,
  softmax: share,
  relu: (state, told, terms) => [line(fill(say.reluTerm, exact(terms.x), exact(told.recomputed)))],
  dropout: (state, told, terms) => [line(fill(say.dropoutTerm, exact(terms.x)))],
  batchnorm: (state, told, terms) => [line(fill(say.bnTerm, exact(terms.x), exact(terms.mean), exact(terms.variance), terms.epsilon, exact(terms.scale), exact(terms.shift), exact(told.recomputed)))],
  lrn: (state, told, terms) => [line(fill(say.lrnTerm, exact(terms.x), exact(terms.squares), exact(terms.x), exact(terms.divisor), exact(told.recomputed), terms.first, terms.first + terms.neighbours.length - 1))],
};
