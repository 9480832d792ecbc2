// What is seen at the playhead, and at the end what happened and why, from the recorded numbers.
import { PageElement } from "./element.js";
import { get } from "./store.js";
import { fill, make } from "./ui.js";
import { outcomeOf } from "./watch-outcome.js";
import { lookedAt } from "./watch-state.js";
import { number, percent, words } from "./words.js";

class WatchStory extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["watch", "language"];
  #box = this.child("#watchStory", HTMLElement);
  #said = "";

  update() {
    const sentences = this.#sentences(), said = sentences.join();
    if (said === this.#said) return;
    this.#said = said;
    this.#box.replaceChildren(...sentences.map(sentence => make("p", {}, sentence)));
  }

  #sentences() {
    const { watch } = get(), { status, losses } = watch, told = words.watch;
    const point = status?.points.find(each => each.step === lookedAt(watch));
    if (!status?.about || !point) return [];
    const log = Math.log(status.about.classes.length).toFixed(3);
    const sentences = [point.loss === null
      ? told.seenInfinite
      : fill(told.seen, {
        step: point.step, loss: point.loss.toFixed(3), log, probability: percent(Math.exp(-point.loss)),
      })];
    const outcome = outcomeOf(status), first = status.points[0], last = status.points.at(-1);
    if (!outcome || !last) return sentences;
    const finite = losses.filter((value, index) => index % 2 === 0 && Number.isFinite(value));
    const half = status.points.find(each => each.accuracy >= 0.5)?.step;
    sentences.push(fill(told.story[outcome], {
      first: first.loss?.toFixed(3) ?? "∞", last: last.loss?.toFixed(3) ?? "∞", accuracy: percent(last.accuracy), log,
      steps: status.done, lowest: number(min(finite)), highest: number(max(finite)), dead: percent(last.dead),
    }));
    if (half !== undefined) sentences.push(fill(told.half, { step: half }));
    sentences.push(fill(told.why[status.experiment], { rate: number(status.about.learning_rate) }));
    return sentences;
  }
}

/** @param {Float32Array} values */
const min = values => values.reduce((least, each) => Math.min(least, each), Infinity);

/** @param {Float32Array} values */
const max = values => values.reduce((most, each) => Math.max(most, each), -Infinity);

customElements.define("watch-story", WatchStory);
