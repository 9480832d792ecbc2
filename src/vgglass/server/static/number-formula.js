// This number as one line: each term in its sign's colour, what ReLU makes of it, and the way to its neighbours.
import { openLayer } from "./actions.js";
import { PageElement } from "./element.js";
import { get } from "./store.js";
import { fill, make } from "./ui.js";
import { unitsOf } from "./units.js";
import { number, words } from "./words.js";

/** @typedef {import("./api.js").Step} Step */

const FIRST = 4; // terms written out

class NumberFormula extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "layer", "step", "maps", "channel", "cell", "language"];
  #text = this.child("#numberSaid", HTMLElement);
  #ways = this.child("#neighbours", HTMLElement);

  update() {
    const { step, layer, maps } = get();
    this.#drawWays();
    if (layer === "image") this.#text.replaceChildren(words.noArithmetic);
    else if (step?.layer === layer && maps) {
      const [row, column] = step.position, { layer: name, channel } = step;
      const title = maps.width > 1 ? words.stepTitle : words.stepTitleVector;
      const place = fill(title, { layer: name, channel, row, column });
      this.#text.replaceChildren(make("span", { class: "note" }, place), make("br"), ...formula(step));
    }
  }

  #drawWays() {
    const { model, layer } = get();
    if (!model?.glass) return;
    const units = unitsOf(model.layers), at = units.findIndex(unit => unit.layers.some(each => each.name === layer));
    const before = units[at - 1], after = units[at + 1], focused = document.activeElement?.id;
    const buttons = [];
    if (before) buttons.push(way("unitBefore", "↑ " + before.name, words.unitBefore, before.name));
    if (after) buttons.push(way("unitAfter", "↓ " + after.name, words.unitAfter, after.name));
    this.#ways.replaceChildren(...buttons);
    for (const each of buttons) if (each.id === focused) each.focus();
  }
}

/** @param {string} id @param {string} text @param {string} said @param {string} layer */
const way = (id, text, said, layer) =>
  make("button", { type: "button", id, title: said, onclick: () => openLayer(layer) }, text);

/** A number in its sign's colour. @param {number} value @param {string} [before] */
const term = (value, before = "") => make("span", { class: value < 0 ? "minus" : "plus" }, before + number(value));

/** @param {Step} step @returns {(Node | string)[]} */
function formula(step) {
  const result = make("b", {}, number(step.recomputed));
  switch (step.kind) {
    case "conv": return [result, " = ", ...sums(step.terms.channel_sums), bias(step.terms.bias), ...relu(step)];
    case "linear": {
      const { positive, negative, channel_sums: channels } = step.terms;
      const terms = channels ? sums(channels) : [term(positive, "Σ⁺ "), " ", term(negative, "Σ⁻ ")];
      return [result, " = ", ...terms, bias(step.terms.bias), ...relu(step)];
    }
    case "maxpool": {
      const { values, inside, poolings: { max: { winner } } } = step.terms, parts = values[0].flatMap((row, i) =>
        row.map((value, j) => ({ value, won: winner?.[0] === i && winner[1] === j, real: inside[i][j] })));
      const numbers = parts.filter(each => each.real).flatMap(({ value, won }, i) =>
        [i ? ", " : "", won ? make("b", {}, number(value)) : number(value)]);
      return [result, " = max(", ...numbers, ")"];
    }
    case "avgpool": return [result, ` = Σ ${number(step.terms.total)} / ${step.terms.count}`];
    case "relu": return [result, " = max(0, ", term(step.terms.x), ")"];
    case "dropout": return [result, " = ", term(step.terms.x)];
    case "softmax": return [result, ` = exp(${number(step.terms.logit)} − ${number(step.terms.largest)}) / Σ`];
    case "batchnorm": return [result, " = (", term(step.terms.x), ` − ${number(step.terms.mean)}) / σ × `,
      number(step.terms.scale), " + ", number(step.terms.shift)];
    case "lrn": return [result, " = ", term(step.terms.x), ` / ${number(step.terms.divisor)}`];
  }
}

/** What the channels add, the largest first. @param {readonly number[]} channels */
function sums(channels) {
  const order = [...channels.keys()].sort((one, other) => Math.abs(channels[other]) - Math.abs(channels[one]));
  const first = order.slice(0, FIRST), rest = order.slice(FIRST);
  const terms = first.flatMap((channel, i) =>
    [i ? " + (" : "(", term(channels[channel]), ")", make("sub", {}, channel)]);
  if (!rest.length) return terms;
  const left = rest.reduce((total, channel) => total + channels[channel], 0);
  const more = make("span", { class: "note" }, fill(words.others, { count: rest.length }));
  return [...terms, " + ", more, " (", term(left), ")"];
}

/** @param {number} value */
const bias = value => make("span", {}, " + ", make("span", { class: value < 0 ? "minus" : "plus" }, number(value)),
  make("sub", {}, words.bias));

/** @param {Step} step @returns {(Node | string)[]} */
function relu({ after }) {
  if (!after) return [];
  const clipped = after.recomputed === 0;
  const open = make("button", { type: "button", onclick: () => follow(after.layer) }, after.layer);
  return [make("br"), "→ ", open, " max(0, ·) = ", make("b", { class: clipped ? "minus" : "plus" },
    number(after.recomputed)), clipped ? " " + words.clippedShort : ""];
}

/** Open the ReLU at the same channel and cell. @param {string} layer */
function follow(layer) {
  const { channel, cell } = get();
  openLayer(layer, { channel, cell });
}

customElements.define("number-formula", NumberFormula);
