// The gestures of the course's cards about images, networks and their use; those about layers: course-stages.js.
import { context2d, sized } from "./element.js";
import { firstConvolution, logits, ofKind, parameters, squareOnPhoto } from "./course-lesson.js";
import { bars, cells, photograph, slider } from "./course-pictures.js";
import { fieldOf, moved, note } from "./course-stages.js";
import { fill, make } from "./ui.js";
import { number, percent, words } from "./words.js";

/** @typedef {import("./course-lesson.js").Lesson} Lesson */

const WIDE = 360; // pixels
const ACCURACY = 0.9, Z = 1.959964; // the 97.5 % quantile of the standard normal distribution

/** The pixel at the chosen place, and what the network gets of it. @param {Lesson} lesson */
export async function image(lesson) {
  const { model, photo } = lesson, { controls } = words.course, [layer] = ofKind(model, "conv");
  const { values } = (await firstConvolution(lesson)).terms, middle = (layer.kernel - 1) / 2;
  const { order, mean, std } = model.input;
  const rows = values.map((patch, channel) => {
    const value = patch[middle][middle], pixel = Math.round(value * std[channel] + mean[channel]);
    return make("div", {}, fill(controls.pixel, {
      name: order[channel], pixel, mean: number(mean[channel]), std: number(std[channel]), value: number(value),
    }));
  });
  const canvas = photograph(photo, model.size, controls.photo, lesson.place, place => {
    lesson.place = place;
    lesson.redraw();
  }, place => [fieldOf(lesson, layer, place)]);
  return [canvas, make("div", { class: "rows", "aria-live": "polite" }, ...rows)];
}

/** @param {Lesson} lesson */
export async function family(lesson) {
  const { model, chosen, checked } = lesson, layers = ofKind(model, "conv", "linear"), all = parameters(model.layers);
  const choices = layers.map(({ name }, i) => make("button", {
    type: "button", "aria-pressed": String(i === chosen), onclick: () => moved(lesson)(i),
  }, name));
  const layer = chosen === null ? null : layers[chosen];
  const said = layer && fill(words.course.controls.share, {
    layer: layer.name, parameters: number(layer.parameters), share: percent(layer.parameters / all),
  });
  const rows = layers.map(each => ({ name: each.name, value: each.parameters, text: number(each.parameters) }));
  return [make("div", { class: "choices" }, ...choices), note(said ?? ""), ...(checked ? [bars(rows)] : [])];
}

/** The loss if the chosen class is right; after the guess its slope in each logit. @param {Lesson} lesson */
export async function training(lesson) {
  const rows = await logits(lesson), right = lesson.chosen ?? 0, { controls } = words.course;
  const choices = rows.map((row, i) => make("button", {
    type: "button", "aria-pressed": String(i === right), onclick: () => moved(lesson)(i),
  }, row.class));
  const loss = fill(controls.loss, { probability: number(rows[right].probability),
    loss: number(-Math.log(rows[right].probability)) });
  return [
    make("div", { class: "choices", role: "group", "aria-label": controls.classOf }, ...choices),
    note(loss),
    bars(rows.map((row, i) => {
      const value = lesson.checked ? row.probability - Number(i === right) : row.probability;
      return { name: row.class, value, text: number(value) };
    })),
    note(lesson.checked ? controls.slopes : controls.probabilities),
  ];
}

/** The network's square, with as many pixels as the slider says. @param {Lesson} lesson */
export async function photographs(lesson) {
  const { model, photo: { bitmap }, chosen } = lesson, { controls } = words.course, side = chosen ?? model.size;
  const { top, left, bottom, right } = squareOnPhoto(lesson), label = fill(controls.square, { side });
  const small = new OffscreenCanvas(side, side), canvas = make("canvas", { role: "img", "aria-label": label });
  context2d(small).drawImage(bitmap, left, top, right - left, bottom - top, 0, 0, side, side);
  const context = sized(canvas, WIDE, WIDE);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, WIDE, WIDE);
  const frames = photograph(lesson.photo, model.size, controls.photo, lesson.place, place => {
    lesson.place = place;
  }, () => [squareOnPhoto(lesson)]);
  return [frames, slider(label, model.size, side, moved(lesson), 8), note(label), canvas];
}

/** The 95 % interval of an accuracy by the number of images (Wilson 1927). @param {Lesson} lesson */
export async function judging(lesson) {
  const power = lesson.chosen ?? 10, count = Math.round(10 ** (1 + power / 10)), right = Math.round(ACCURACY * count);
  const share = right / count, square = Z ** 2 / count, { controls } = words.course;
  const half = Math.sqrt(square * (share * (1 - share) + square / 4)), middle = share + square / 2;
  const [low, high] = [(middle - half) / (1 + square), (middle + half) / (1 + square)];
  const said = fill(controls.interval, { right, count, low: percent(low), high: percent(high) });
  const rows = [low, share, high].map((value, i) =>
    ({ name: [controls.low, controls.accuracy, controls.high][i], value, text: percent(value) }));
  return [slider(said, 20, power, moved(lesson)), note(said), bars(rows)];
}

/** The first convolution's number with a kernel of fewer bits. @param {Lesson} lesson */
export async function shipping(lesson) {
  const { terms: { values, kernel, bias }, recomputed } = await firstConvolution(lesson), { controls } = words.course;
  const bits = lesson.chosen ?? 8, largest = Math.max(...kernel.flat(2).map(Math.abs));
  const scale = largest / (2 ** (bits - 1) - 1);
  const rounded = kernel.map(channel => channel.map(row => row.map(weight => Math.round(weight / scale))));
  const inputs = values.flat(2);
  const result = rounded.flat(2).reduce((sum, whole, i) => sum + whole * scale * inputs[i], bias);
  const said = fill(controls.bits, { bits, rounded: number(result), exact: number(recomputed) });
  return [
    slider(fill(controls.bitsEach, { bits }), 8, bits, moved(lesson), 2),
    make("div", { class: "terms" }, ...rounded.map(channel => cells(channel, 2 ** (bits - 1), controls.wholes))),
    note(said),
  ];
}
