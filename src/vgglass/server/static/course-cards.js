// The course's cards, in the order of its chapters: what one touches, the guess, and the real number that checks it.
import { fetchLayer, fetchSoftmax } from "./api.js";
import { levels } from "./colours.js";
import {
  before, firstConvolution, firstPooling, gradCam, lastRelu, logits, middle, ofKind, parameters, strongest, unseen,
} from "./course-lesson.js";
import * as stages from "./course-stages.js";
import * as whole from "./course-whole.js";
import { compute } from "./operations.js";
import { number, percent, words } from "./words.js";

/** @typedef {import("./course-lesson.js").Lesson} Lesson */
/** @typedef {import("./course-lesson.js").Model} Model */
/** @typedef {import("./ui.js").Values} Values */
/** @typedef {import("./words.js").Words["course"]} Texts */
/** @typedef {Exclude<keyof Texts, "controls" | "chapters">} Name */

/** @typedef {{right: (guess: number) => boolean, values: Values}} Solution */

/**
 * @typedef {object} Card
 * @property {Name} name
 * @property {keyof Texts["chapters"]} chapter that it belongs to
 * @property {(model: Model) => string} layer that the card opens in Explore
 * @property {string} mark the element there that it is about
 * @property {import("./store.js").View} [door] another view in which it goes on, where the server has that
 * @property {(lesson: Lesson) => Values} values of the placeholders of its texts
 * @property {(lesson: Lesson) => Promise<Node[]>} stage
 * @property {"number" | "place" | ((lesson: Lesson) => string[])} guess a number, the place chosen, or one of several
 * @property {(lesson: Lesson) => Promise<Solution>} solve
 */

/** @param {number} truth @param {Values} [values] @param {number} [within] @returns {Solution} */
const exactly = (truth, values = {}, within = 1e-9) =>
  ({ right: guess => Math.abs(guess - truth) <= within, values: { truth: number(truth), ...values } });

const none = () => ({});

/** @type {readonly Card[]} */
export const CARDS = [
  {
    name: "image",
    chapter: "image",
    layer: () => "conv1_1",
    mark: "photo",
    values: none,
    stage: whole.image,
    guess: "number",
    solve: async ({ model }) => {
      const { size, input: { mean: { length: channels } } } = model;
      return exactly(size * size * channels, { size, channels });
    },
  },
  {
    name: "convolution",
    chapter: "convolution",
    layer: () => "conv1_1",
    mark: "arithmetic",
    values: lesson => ({ layer: "conv1_1", channel: strongest(lesson, "conv1_1") }),
    stage: stages.convolution,
    guess: () => [words.course.convolution.one, words.course.convolution.two],
    solve: async lesson => {
      const { terms: { sum, bias }, recomputed } = await firstConvolution(lesson);
      return {
        right: guess => guess === (recomputed > 0 ? 0 : 1),
        values: { sum: number(sum), bias: number(bias), truth: number(recomputed) },
      };
    },
  },
  {
    name: "superposition",
    chapter: "convolution",
    layer: () => "conv1_1",
    mark: "controls",
    values: none,
    stage: stages.superposition,
    guess: "number",
    solve: async () => {
      const unit = stages.NUMBERS.map((_, i) => stages.NUMBERS.map((_, j) => Number(i === 3 && j === 3)));
      const response = compute(unit, "conv", stages.GEOMETRY).outputs.flat();
      return exactly(response.filter(value => value !== 0).length);
    },
  },
  {
    name: "pooling",
    chapter: "pooling",
    layer: model => ofKind(model, "maxpool")[0].name,
    mark: "arithmetic",
    values: ({ model }) => {
      const [pool] = ofKind(model, "maxpool");
      return { layer: pool.name, before: before(model, pool).name };
    },
    stage: stages.pooling,
    guess: "number",
    solve: async lesson => {
      const { max, min, avg } = (await firstPooling(lesson)).terms.poolings;
      const within = 0.01 * Math.abs(max.result) + 0.006; // as many decimals as one types
      return exactly(max.result, { least: number(min.result), mean: number(avg.result) }, within);
    },
  },
  {
    name: "relu",
    chapter: "relu",
    layer: model => lastRelu(model).name,
    mark: "layerFigures",
    values: ({ model }) => ({ layer: lastRelu(model).name }),
    stage: stages.relu,
    guess: "number",
    solve: async ({ image, model, signal }) => {
      const { zeros } = await fetchLayer(image, lastRelu(model).name, signal);
      return { right: guess => Math.abs(guess - 100 * zeros) <= 10, values: { truth: (100 * zeros).toFixed(1) } };
    },
  },
  {
    name: "map",
    chapter: "receptive",
    layer: model => middle(model).name,
    mark: "grid",
    values: ({ model }) =>
      ({ layer: middle(model).name, pools: ofKind(model, "maxpool").length, size: model.size }),
    stage: stages.featureMap,
    guess: "number",
    solve: async ({ model }) => exactly(ofKind(model, "maxpool").at(-1)?.shape[0] ?? model.size),
  },
  {
    name: "field",
    chapter: "receptive",
    layer: model => middle(model).name,
    mark: "photo",
    values: ({ model }) => ({ layer: middle(model).name }),
    stage: stages.field,
    guess: "number",
    solve: async ({ model }) => exactly(middle(model).receptive_field),
  },
  {
    name: "structure",
    chapter: "family",
    layer: () => "conv1_1",
    mark: "strip",
    values: ({ model }) => ({ blocks: ofKind(model, "maxpool").length }),
    stage: stages.structure,
    guess: "number",
    solve: async ({ model }) => {
      const convolutions = ofKind(model, "conv").length, linear = ofKind(model, "linear").length;
      return exactly(convolutions + linear, { convolutions, linear });
    },
  },
  {
    name: "family",
    chapter: "family",
    layer: model => model.head_layer,
    mark: "strip",
    values: ({ model }) => ({ layers: ofKind(model, "linear").map(layer => layer.name).join(", ") }),
    stage: whole.family,
    guess: "number",
    solve: async ({ model }) => {
      const connected = parameters(ofKind(model, "linear")), all = parameters(model.layers);
      return exactly((100 * connected) / all, { connected: number(connected), all: number(all) }, 10);
    },
  },
  {
    name: "connected",
    chapter: "connected",
    layer: model => model.head_layer,
    mark: "arithmetic",
    values: ({ model }) => ({ layer: ofKind(model, "linear")[0].name }),
    stage: stages.connected,
    guess: ({ model }) => sizes(ofKind(model, "linear")[0].parameters).map(number),
    solve: async ({ model }) => {
      const { parameters, shape } = ofKind(model, "linear")[0], outputs = shape[2];
      return {
        right: guess => sizes(parameters)[guess] === parameters,
        values: { inputs: number(parameters / outputs - 1), outputs: number(outputs), truth: number(parameters) },
      };
    },
  },
  {
    name: "softmax",
    chapter: "softmax",
    layer: () => "prob",
    mark: "arithmetic",
    values: none,
    stage: stages.softmax,
    guess: () => {
      const { one, two, three } = words.course.softmax;
      return [one, two, three];
    },
    solve: async ({ image }) => {
      const { index } = image.top[0];
      const [before, after] = await Promise.all([1, 2].map(async temperature => {
        const { rows } = await fetchSoftmax(image, temperature, index);
        return Math.max(...rows.map(row => row.probability));
      }));
      const truth = after > before ? 0 : after < before ? 1 : 2;
      return { right: guess => guess === truth, values: { before: percent(before), after: percent(after) } };
    },
  },
  {
    name: "training",
    chapter: "training",
    layer: () => "fc8",
    mark: "arithmetic",
    door: "watch",
    values: none,
    stage: whole.training,
    guess: "number",
    solve: async lesson => {
      const { class: name, probability } = (await logits(lesson))[lesson.chosen ?? 0];
      const values = { class: name, probability: number(probability), loss: number(-Math.log(probability)) };
      return exactly(probability - 1, values, 0.05);
    },
  },
  {
    name: "photographs",
    chapter: "photographs",
    layer: () => "conv1_1",
    mark: "photo",
    door: "teach",
    values: ({ model }) => ({ size: model.size }),
    stage: whole.photographs,
    guess: "number",
    solve: async lesson => exactly(100 * unseen(lesson), {}, 5),
  },
  {
    name: "why",
    chapter: "judging",
    layer: model => model.layers[model.layers.length - 1].name,
    mark: "photo",
    values: ({ image }) => ({ class: image.top[0].class }),
    stage: stages.why,
    guess: "place",
    solve: async lesson => {
      const { model, place: [row, column] } = lesson, found = await gradCam(lesson), values = levels(found);
      const at = (/** @type {number} */ pixel, /** @type {number} */ count) =>
        Math.min(count - 1, Math.floor((pixel / model.size) * count));
      const share = Math.max(0, values[at(row, found.height) * found.width + at(column, found.width)]) / 127;
      return { right: () => share >= 0.5, values: { truth: percent(share) } };
    },
  },
  {
    name: "judging",
    chapter: "judging",
    layer: () => "prob",
    mark: "bars",
    values: ({ image }) => ({ class: image.top[0].class }),
    stage: whole.judging,
    guess: "number",
    solve: async ({ image }) => {
      const { probability } = image.top[0];
      return exactly(100 * (1 - probability), { probability: percent(probability) }, 5);
    },
  },
  {
    name: "shipping",
    chapter: "shipping",
    layer: () => "conv1_1",
    mark: "arithmetic",
    values: none,
    stage: whole.shipping,
    guess: "number",
    solve: async ({ model }) => {
      const count = parameters(model.layers), truth = (4 * count) / 1e6;
      return exactly(truth, { count: number(count), int8: number(truth / 4) }, truth / 10);
    },
  },
];

/** Four sizes, one of them right, in an order that does not tell. @param {number} truth */
const sizes = truth => {
  const found = [truth, Math.round(truth / 100), Math.round(truth / 9), truth * 12], turn = truth % 4;
  return [...found.slice(turn), ...found.slice(0, turn)];
};
