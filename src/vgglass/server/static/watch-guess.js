// A guess before each act, held beside the real number afterwards.
import { PageElement } from "./element.js";
import { get } from "./store.js";
import { fill, make } from "./ui.js";
import { outcomeOf } from "./watch-outcome.js";
import { patchWatch } from "./watch-state.js";
import { number, percent, words } from "./words.js";

/** @typedef {import("./watch-state.js").Act} Act */
/** @typedef {import("./watch-outcome.js").Outcome} Outcome */

const NEAR = 0.05; // of the first loss, to be right

class WatchGuess extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["watch", "language"];
  #form = this.child("#watchGuess", HTMLFormElement);
  #verdict = this.child("#watchVerdict", HTMLElement);
  #drawn = "";

  connectedCallback() {
    super.connectedCallback();
    this.#form.addEventListener("submit", event => {
      event.preventDefault();
      const field = this.#form.querySelector("input"), act = this.#act();
      if (field instanceof HTMLInputElement && act) this.#guess(act, field.value);
    });
  }

  /** @param {Act} act @param {string} value */
  #guess(act, value) {
    patchWatch({ guesses: { ...get().watch.guesses, [act]: value } });
  }

  /** What is next to be guessed; null for nothing. @returns {Act | null} */
  #act() {
    const { status, guesses } = get().watch;
    if (!status?.points.length) return guesses.start === undefined ? "start" : null;
    if (status.state !== "paused" && status.state !== "running") return null;
    if (2 * status.done > (status.about?.steps ?? 0)) return null; // most of it is to be seen
    if (status.experiment === "plain") return guesses.end === undefined ? "end" : null;
    return guesses.outcome === undefined ? "outcome" : null;
  }

  update() {
    this.#verdict.replaceChildren(...this.#verdicts().map(sentence => make("span", {}, sentence)));
    const act = this.#act(), key = `${get().language} ${act}`;
    if (key === this.#drawn) return;
    this.#drawn = key;
    this.#form.hidden = act === null;
    if (act) this.#form.replaceChildren(...this.#question(act));
  }

  /** @param {Act} act */
  #question(act) {
    const told = words.watch;
    if (act === "outcome") {
      const names = /** @type {Outcome[]} */ (Object.keys(told.outcomes));
      return [make("span", {}, told.guessOutcome), ...names.map(name => make("button", {
        type: "button", onclick: () => this.#guess("outcome", name),
      }, told.outcomes[name]))];
    }
    const [text, most, step] = act === "start" ? [told.guessStart, 100, 0.001] : [told.guessEnd, 100, 1];
    return [
      make("label", {}, text, make("input", { type: "number", min: 0, max: most, step, required: true })),
      make("button", {}, told.guess),
    ];
  }

  #verdicts() {
    const { status, guesses } = get().watch, told = words.watch, sentences = [];
    if (!status) return [];
    const first = status.points[0], last = status.points.at(-1), classes = status.about?.classes.length ?? 0;
    if (first?.step === 0 && first.loss !== null && guesses.start !== undefined) {
      const right = Math.abs(Number(guesses.start) - first.loss) <= NEAR, even = first.loss - Math.log(classes) <= NEAR;
      sentences.push(fill(!even ? told.startUneven : right ? told.startRight : told.startWrong, {
        guess: guesses.start, loss: first.loss.toFixed(3), classes, log: Math.log(classes).toFixed(3),
      }));
    }
    if (status.state === "running" || status.state === "paused" || !last) return sentences;
    if (guesses.end !== undefined) {
      sentences.push(fill(told.endVerdict, { guess: number(Number(guesses.end)), accuracy: percent(last.accuracy) }));
    }
    const outcome = outcomeOf(status);
    if (guesses.outcome !== undefined && outcome) {
      const guess = told.outcomes[/** @type {Outcome} */ (guesses.outcome)];
      const right = guesses.outcome === outcome;
      sentences.push(fill(right ? told.outcomeRight : told.outcomeWrong, { guess, outcome: told.outcomes[outcome] }));
    }
    return sentences;
  }
}

customElements.define("watch-guess", WatchGuess);
