// The top five classes, and the effect of ablated channels on them.
import { toggleAblation } from "./actions.js";
import { fetchAblation } from "./api.js";
import { PageElement } from "./element.js";
import { attempt } from "./failures.js";
import { rove, settle } from "./roving.js";
import { get, patch } from "./store.js";
import { fill, make } from "./ui.js";
import { words } from "./words.js";

class AnswerBars extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["image", "awaited", "ablated", "target", "failures", "language"];
  #bars = this.child("#bars", HTMLElement);
  #ablated = this.child("#silenced", HTMLElement);
  /** With and without the ablated channels. @type {import("./api.js").AblatedRow[]} */
  #rows = [];

  connectedCallback() {
    super.connectedCallback();
    rove(this.#bars);
  }

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { image, ablated, awaited, failures, model } = get(), took = this.child("#took", HTMLElement);
    const waits = awaited || !image;
    took.textContent = waits ? (failures.photo || !model ? "" : words.looking)
      : fill(words.took, { milliseconds: Math.round(get().latency) });
    if (!image) return;
    if (changed.has("image") || changed.has("ablated")) {
      const rows = ablated.size
        ? (await attempt("answer", () => fetchAblation(image, [...ablated])))?.rows
        : image.top.map(unchanged);
      if (!rows || image !== get().image || ablated !== get().ablated) return;
      this.#rows = rows;
    }
    this.#drawBars();
    this.#drawAblated();
    this.child("#unsure", HTMLElement).hidden = !image.unsure;
    this.child("#unfamiliar", HTMLElement).hidden = !image.unfamiliar;
  }

  /** The bars of classes that were there before move to their new length. */
  #drawBars() {
    const { image, ablated, target } = get(), chosen = target ?? image?.top[0].index;
    const grid = this.#bars.querySelector(".bars") ?? make("div", { class: "bars" }), parts = [];
    const focused = document.activeElement?.getAttribute("data-index");
    for (const { index, class: name, before, after } of this.#rows) {
      const old = grid.querySelector(`.track[data-index="${index}"]`);
      const track = old instanceof HTMLElement ? old : make("div", { class: "track", "data-index": index });
      if (!old) track.append(make("div", { class: "fill" }), make("div", { class: "was", hidden: true }));
      const [level, mark] = track.children;
      if (!(level instanceof HTMLElement && mark instanceof HTMLElement)) continue;
      requestAnimationFrame(() => (level.style.width = 100 * after + "%"));
      mark.hidden = !ablated.size;
      mark.style.left = 100 * before + "%";
      const figure = ablated.size ? before.toFixed(4) + " → " + after.toFixed(4) : after.toFixed(4);
      parts.push(make("button", {
        type: "button", class: "class", "aria-pressed": String(index === chosen), "data-index": index,
        title: name + " · " + words.explain, onclick: () => patch({ target: index, against: null }),
      }, name), track, make("span", { class: "probability" }, figure));
    }
    grid.replaceChildren(...parts);
    if (!grid.isConnected) this.#bars.replaceChildren(grid);
    settle(this.#bars);
    for (const each of parts) if (each.tagName === "BUTTON" && focused && each.dataset.index === focused) each.focus();
  }

  #drawAblated() {
    const names = [...get().ablated];
    this.#ablated.hidden = !names.length;
    this.#ablated.replaceChildren(
      make("p", { class: "note" }, fill(words.silencedNote, {
        precision: get().image?.precision ?? "", answer: get().image?.top[0].probability.toFixed(4) ?? "",
      })),
      make("div", { class: "choices" }, ...names.map(name =>
        make("button", { type: "button", onclick: () => toggleAblation(name) }, name + " ✕"))),
    );
  }
}

/** @param {import("./api.js").Ranked} row */
const unchanged = ({ index, class: name, probability }) =>
  ({ index, class: name, before: probability, after: probability });

customElements.define("answer-bars", AnswerBars);
