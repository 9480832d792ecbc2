// The playhead: which point of the record is shown, during the run and after it.
import { byId, PageElement } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { lookedAt, movePlayhead, stepsOf } from "./watch-state.js";
import { words } from "./words.js";

class WatchPlayhead extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["watch", "language"];
  #range = this.child("#watchStep", HTMLInputElement);

  connectedCallback() {
    super.connectedCallback();
    this.#range.addEventListener("input", () => this.#move(Number(this.#range.value)));
    byId("watchBack", HTMLButtonElement).addEventListener("click", () => this.#move(Number(this.#range.value) - 1));
    byId("watchForth", HTMLButtonElement).addEventListener("click", () => this.#move(Number(this.#range.value) + 1));
    byId("watchFollow", HTMLButtonElement).addEventListener("click", () => movePlayhead(null));
  }

  /** @param {number} index of a point */
  #move(index) {
    const step = stepsOf(get().watch.status)[index];
    if (step !== undefined) movePlayhead(step);
  }

  update() {
    const { watch } = get(), told = words.watch, steps = stepsOf(watch.status), index = steps.indexOf(lookedAt(watch));
    this.#range.max = String(Math.max(0, steps.length - 1));
    this.#range.value = String(index);
    const where = fill(told.where, { step: lookedAt(watch), steps: watch.status?.about?.steps ?? 0 });
    this.#range.setAttribute("aria-label", told.playhead);
    this.#range.setAttribute("aria-valuetext", where);
    byId("watchWhere", HTMLOutputElement).textContent = where;
    byId("watchBack", HTMLButtonElement).disabled = index <= 0;
    byId("watchForth", HTMLButtonElement).disabled = index >= steps.length - 1;
    byId("watchBack", HTMLButtonElement).setAttribute("aria-label", told.earlier);
    byId("watchForth", HTMLButtonElement).setAttribute("aria-label", told.later);
    const follow = byId("watchFollow", HTMLButtonElement);
    follow.textContent = told.follow;
    follow.setAttribute("aria-pressed", String(watch.playhead === null));
  }
}

customElements.define("watch-playhead", WatchPlayhead);
