// The top five classes, and the effect of ablated channels on them.
import { toggleAblation } from "./actions.js";
import { fetchAblation } from "./api.js";
import { PageElement } from "./element.js";
import { get, patch } from "./store.js";
import { fill, make } from "./ui.js";
import { joined, words } from "./words.js";

class AnswerBars extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["image", "ablated", "target", "problem", "language"];
  #bars = this.child("#bars", HTMLElement);
  #ablated = this.child("#silenced", HTMLElement);
  /** With and without the ablated channels. @type {import("./api.js").AblatedRow[]} */
  #rows = [];

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { image, ablated, problem, model } = get();
    if (!image) {
      this.#bars.replaceChildren(...(problem || !model ? [] : [make("p", { class: "note" }, words.looking)]));
      return;
    }
    if (changed.has("image") || changed.has("ablated")) {
      const rows = ablated.size ? (await fetchAblation(image, [...ablated])).rows : image.top.map(unchanged);
      if (image !== get().image || ablated !== get().ablated) return;
      this.#rows = rows;
    }
    this.#drawBars();
    this.#drawAblated();
    this.child("#unsure", HTMLElement).hidden = !image.unsure;
    this.child("#unfamiliar", HTMLElement).hidden = !image.unfamiliar;
    this.child("#timing", HTMLElement).textContent = joined(
      fill(words.computed, { engine: image.engine, precision: image.precision, views: image.views }),
      fill(words.took, { milliseconds: Math.round(get().latency) }),
    );
  }

  #drawBars() {
    const { image, ablated, target } = get(), chosen = target ?? image?.top[0].index;
    const grid = make("div", { class: "bars" });
    for (const { index, class: name, before, after } of this.#rows) {
      const level = make("div", { class: "fill" }), track = make("div", { class: "track" }, level);
      level.style.width = 100 * after + "%";
      if (ablated.size) {
        const mark = make("div", { class: "was" });
        mark.style.left = 100 * before + "%";
        track.append(mark);
      }
      const figure = ablated.size ? before.toFixed(4) + " → " + after.toFixed(4) : after.toFixed(4);
      const button = make("button", {
        type: "button", class: "class", "aria-pressed": String(index === chosen), title: words.explain,
        onclick: () => patch({ target: index, against: null }),
      }, name);
      grid.append(button, track, make("span", { class: "probability" }, figure));
    }
    this.#bars.replaceChildren(grid);
  }

  #drawAblated() {
    const names = [...get().ablated];
    this.#ablated.hidden = !names.length;
    this.#ablated.replaceChildren(
      make("p", { class: "note" }, words.silencedNote),
      make("div", { class: "choices" }, ...names.map(name =>
        make("button", { type: "button", onclick: () => toggleAblation(name) }, name + " ✕"))),
    );
  }
}

/** @param {import("./api.js").Ranked} row */
const unchanged = ({ index, class: name, probability }) =>
  ({ index, class: name, before: probability, after: probability });

customElements.define("answer-bars", AnswerBars);
