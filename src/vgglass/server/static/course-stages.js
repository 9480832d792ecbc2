// The gestures of the course's cards about layers: each returns what is drawn for a lesson.
import { fetchLayer, fetchMaps, fetchNumbers, fetchSoftmax, fetchStep } from "./api.js";
import { heat } from "./colours.js";
import {
  before, cellAt, firstConvolution, firstPooling, gradCam, lastOfBlocks, lastRelu, middle, ofKind, strongest,
} from "./course-lesson.js";
import { bars, cells, map, photograph, slider } from "./course-pictures.js";
import { sized } from "./element.js";
import { receptiveField } from "./geometry.js";
import { compute, weights } from "./operations.js";
import { fill, make } from "./ui.js";
import { number, percent, words } from "./words.js";

/** @typedef {import("./course-lesson.js").Lesson} Lesson */
/** @typedef {import("./api.js").Layer} Layer */

const SIDE = 7;
export const NUMBERS = Array.from({ length: SIDE }, (_, i) => i);
export const GEOMETRY = { kernel: 3, stride: 1, padding: 1, dilation: 1 };

/** @param {string} text */
export const note = text => make("p", { class: "note", "aria-live": "polite" }, text);

/** @param {Lesson} lesson */
export async function structure({ model, summaries }) {
  const { course } = words, said = note("");
  const buttonOf = (/** @type {string} */ name, /** @type {string} */ text) => make("button", {
    type: "button", class: "block", "aria-label": text, onclick: () => { said.textContent = text; },
  }, name);
  /** @type {Layer[][]} */
  const blocks = [[]];
  for (const layer of model.layers) {
    if (layer.kind === "conv" || layer.kind === "maxpool") blocks[blocks.length - 1].push(layer);
    if (layer.kind === "maxpool") blocks.push([]);
  }
  const buttons = blocks.filter(block => block.length).map((block, i) => {
    const { name, shape: [side, , channels] } = block[block.length - 1];
    const text = fill(course.controls.block, { block: i + 1, convolutions: block.length - 1, channels, side });
    const shown = summaries.find(summary => summary.name === name), button = buttonOf(String(i + 1), text);
    if (shown) button.prepend(thumbnail(shown.thumbnail, 16 + Math.round((110 * block[0].shape[0]) / model.size)));
    button.style.paddingInline = 4 + Math.round(channels / 24) + "px";
    return button;
  });
  const text = fill(course.controls.headBlock, { layers: ofKind(model, "linear").length });
  return [make("div", { class: "blocks" }, ...buttons, buttonOf("fc", text)), said];
}

/** @param {import("./api.js").Picture} picture @param {number} side */
function thumbnail(picture, side) {
  const canvas = make("canvas", { "aria-hidden": "true" }), context = sized(canvas, side, side);
  context.imageSmoothingEnabled = false;
  context.drawImage(heat(picture), 0, 0, side, side);
  return canvas;
}

/** @param {Lesson} lesson */
export async function convolution(lesson) {
  const { course } = words, { values, kernel, products, channel_sums: sums } = (await firstConvolution(lesson)).terms;
  const [layer] = ofKind(lesson.model, "conv");
  const photo = photograph(lesson.photo, lesson.model.size, course.controls.photo, lesson.place, place => {
    lesson.place = place;
    lesson.redraw();
  }, place => [fieldOf(lesson, layer, place)]);
  const end = (/** @type {number[][][]} */ of) => Math.max(...of.flat(2).map(Math.abs));
  const rows = values.map((patch, channel) => {
    const text = lesson.checked
      ? fill(course.controls.kernelRow, { channel, sum: number(sums[channel]) })
      : fill(course.controls.hiddenRow, { channel });
    const parts = [cells(patch, end(values), text), "×", cells(kernel[channel], end(kernel), text)];
    if (lesson.checked) parts.push("=", cells(products[channel], end(products), text));
    return make("div", {}, make("span", { class: "note" }, text), make("div", { class: "terms" }, ...parts));
  });
  return [photo, make("div", { class: "rows" }, ...rows)];
}

/** @param {Lesson} lesson */
export async function superposition(lesson) {
  const { course } = words, { values } = await fetchNumbers(SIDE, lesson.image), kernel = weights(3);
  const whole = compute(values, "conv", GEOMETRY).outputs, count = lesson.chosen ?? 0;
  const laid = NUMBERS.map(() => NUMBERS.map(() => 0));
  for (let pixel = 0; pixel < count; pixel++) {
    const row = Math.floor(pixel / SIDE), column = pixel % SIDE;
    for (const [i, line] of kernel.entries()) {
      for (const [j, weight] of line.entries()) {
        const target = laid[row + 1 - i], at = column + 1 - j; // the turned kernel around this pixel
        if (target && at in target) target[at] += weight * values[row][column];
      }
    }
  }
  const gap = Math.max(...laid.flat().map((value, i) => Math.abs(value - whole.flat()[i])));
  const end = Math.max(...values.flat(), 1), last = count - 1;
  const inLast = (/** @type {number} */ row, /** @type {number} */ column) =>
    count > 0 && Math.abs(row - Math.floor(last / SIDE)) < 2 && Math.abs(column - (last % SIDE)) < 2;
  const isLast = (/** @type {number} */ row, /** @type {number} */ column) => row * SIDE + column === last;
  const said = [fill(course.controls.pixels, { count, all: SIDE ** 2 })];
  if (count === SIDE ** 2) said.push(fill(course.controls.superposed, { difference: gap < 1e-9 ? 0 : number(gap) }));
  return [
    slider(course.controls.pixels, SIDE ** 2, count, moved(lesson)),
    make("div", { class: "terms" },
      figure(cells(values, end, course.controls.input, isLast), course.controls.input),
      figure(cells(laid, end, course.controls.output, inLast), course.controls.output)),
    note(said.join(" · ")),
  ];
}

/** @param {Lesson} lesson */
export async function pooling(lesson) {
  const { model, image, signal } = lesson, { course } = words, [pool] = ofKind(model, "maxpool");
  const input = before(model, pool), channel = strongest(lesson, pool.name);
  const [step, values, { ends }] = await Promise.all([
    firstPooling(lesson), fetchMaps(image, input.name, { channel, signal }), fetchLayer(image, input.name, signal),
  ]);
  const { values: [window], top, left, poolings } = step.terms, [width, height] = input.shape;
  const box = { top, left, bottom: top + window.length, right: left + window[0].length };
  const largest = Math.max(...window.flat().map(Math.abs)), winner = lesson.checked ? poolings.max.winner : null;
  const marked = (/** @type {number} */ row, /** @type {number} */ column) =>
    winner !== null && winner[0] === row && winner[1] === column;
  const label = fill(course.controls.channel, { layer: input.name, channel }), [, column] = step.position;
  return [
    slider(fill(course.controls.column, { column }), pool.shape[0] - 1, column, moved(lesson)),
    make("div", { class: "terms" },
      figure(map(values, width, height, ends[channel], input.kind !== "relu", label, box), label),
      figure(cells(window, largest, pool.name, marked), fill(course.controls.column, { column }))),
    note(window.flat().map(number).join("   ")),
  ];
}

/** @param {Lesson} lesson */
export async function connected(lesson) {
  const { model, image } = lesson, { course } = words, { index } = image.top[lesson.chosen ?? 0];
  const step = await fetchStep(image, "fc8", index, [0, 0], lesson.signal);
  if (step.kind !== "linear") throw new TypeError("fc8 is not fully connected");
  const choices = image.top.map((row, i) => make("button", {
    type: "button", "aria-pressed": String(row.index === index), onclick: () => moved(lesson)(i),
  }, model.classes[row.index]));
  const rows = step.terms.largest.slice(0, 8).map(({ channel, product, input, weight }) =>
    ({ name: String(channel), value: product, text: `${number(input)} × ${number(weight)} = ${number(product)}` }));
  return [
    make("div", { class: "choices", role: "group", "aria-label": course.controls.classOf }, ...choices),
    note(fill(course.controls.contributions, { count: number(step.terms.count) })),
    bars(rows),
  ];
}

/** @param {Lesson} lesson */
export async function featureMap(lesson) {
  const { model, image, signal } = lesson, layer = middle(model), [width, height, channels] = layer.shape;
  const channel = lesson.chosen ?? strongest(lesson, layer.name);
  const [values, { ends }] = await Promise.all([
    fetchMaps(image, layer.name, { channel, signal }), fetchLayer(image, layer.name, signal),
  ]);
  const label = fill(words.course.controls.channel, { layer: layer.name, channel });
  return [
    slider(label, channels - 1, channel, moved(lesson)),
    figure(map(values, width, height, ends[channel], true, label), label),
  ];
}

/** @param {Lesson} lesson */
export async function field(lesson) {
  const { model, photo } = lesson, { course } = words, layers = lastOfBlocks(model);
  const canvas = photograph(photo, model.size, course.controls.photo, lesson.place, place => {
    lesson.place = place;
  }, place => layers.map(layer => fieldOf(lesson, layer, place)));
  const hidden = lesson.checked ? null : middle(model); // that is the question
  const said = layers.map(layer => fill(course.controls.field, {
    layer: layer.name, side: layer === hidden ? "?" : layer.receptive_field,
  }));
  return [canvas, note(said.join(" · "))];
}

/** @param {Lesson} lesson */
export async function relu(lesson) {
  const { model, image, signal } = lesson, { course } = words, off = lesson.chosen === 1, layer = lastRelu(model);
  const shown = off ? before(model, layer) : layer, [width, height] = shown.shape;
  const channel = strongest(lesson, layer.name);
  const [values, { ends }] = await Promise.all([
    fetchMaps(image, shown.name, { channel, signal }), fetchLayer(image, shown.name, signal),
  ]);
  const label = fill(course.controls.channel, { layer: shown.name, channel });
  const switches = [course.controls.withRelu, course.controls.withoutRelu].map((text, i) => make("button", {
    type: "button", "aria-pressed": String(off === (i === 1)), onclick: () => moved(lesson)(i),
  }, text));
  return [
    make("div", { class: "choices" }, ...switches),
    figure(map(values, width, height, ends[channel], true, label), label),
  ];
}

/** @param {Lesson} lesson */
export async function softmax(lesson) {
  const { image } = lesson, power = lesson.chosen ?? 10;
  const temperature = Number((10 ** ((power - 10) / 10)).toPrecision(2));
  const { rows } = await fetchSoftmax(image, temperature, image.top[0].index), { course } = words;
  const label = fill(course.controls.temperature, { temperature });
  return [
    slider(label, 20, power, moved(lesson), 1),
    note(label),
    bars(rows.map(row => ({ name: row.class, value: row.probability, text: percent(row.probability) }))),
  ];
}

/** @param {Lesson} lesson */
export async function why(lesson) {
  const { model, photo } = lesson, found = lesson.checked ? heat(await gradCam(lesson)) : null;
  const spot = { receptive_field: Math.max(4, model.size / 16), jump: 1, first_centre: 0 };
  const point = (/** @type {import("./store.js").Cell} */ place) => [onPhoto(lesson, spot, place)];
  return [photograph(photo, model.size, words.course.controls.photo, lesson.place, place => {
    lesson.place = place;
  }, point, (context, { top, left, bottom, right }) => {
    if (!found) return;
    context.globalAlpha = 0.6;
    context.drawImage(found, left, top, right - left, bottom - top);
    context.globalAlpha = 1;
  })];
}

/** The receptive field on the photograph of the cell at a place.
 * @param {Lesson} lesson @param {Layer} layer @param {import("./store.js").Cell} place */
export const fieldOf = (lesson, layer, place) => onPhoto(lesson, layer, cellAt(layer, place));

/** @param {Lesson} lesson @param {import("./geometry.js").Field} layer @param {import("./store.js").Cell} cell */
function onPhoto({ photo, model }, layer, cell) {
  const { width, height } = photo.bitmap, whole = { top: 0, left: 0, rows: model.size, columns: model.size };
  return receptiveField({ width, height, placement: photo.image.placement ?? whole }, model.size, layer, cell);
}

/** @param {Lesson} lesson */
export const moved = lesson => (/** @type {number} */ value) => {
  lesson.chosen = value;
  lesson.redraw();
};

/** @param {HTMLCanvasElement} canvas @param {string} caption */
const figure = (canvas, caption) => make("figure", {}, canvas, make("figcaption", {}, caption));
