// The top five classes, and the effect of ablated channels on them.
import { toggleAblation } from "./actions.js";
import { fetchAblation } from "./api.js";
import { PageElement } from "./element.js";
import { attempt } from "./failures.js";
import { ProgressNote } from "./progress-note.js";
import { rove, settle } from "./roving.js";
import { get, patch } from "./store.js";
import { fill, make } from "./ui.js";
import { words } from "./words.js";

/** @typedef {{image: import("./api.js").ImageAnswer | null, ablated: import("./store.js").State["ablated"]}} Asked */

/** A probability in four decimals; a small one is not called zero. @param {number} p */
const share = p => (p > 0 && p < 0.00005 ? "<0.0001" : p.toFixed(4));

class AnswerBars extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["view", "image", "awaited", "ablated", "target", "failures", "language"];
  #bars = this.child("#bars", HTMLElement);
  #ablated = this.child("#silenced", HTMLElement);
  /** With and without the ablated channels. @type {import("./api.js").AblatedRow[]} */
  #rows = [];
  /** Whose rows they are, and the channels that they are without. @type {Asked} */
  #shown = { image: null, ablated: get().ablated };
  /** The same of those that are being computed. @type {Asked} */
  #asked = this.#shown;
  #request = new AbortController();
  #progress = this.child("progress-note", ProgressNote);

  connectedCallback() {
    super.connectedCallback();
    rove(this.#bars);
  }

  async update() {
    const { image, ablated, awaited, failures, model } = get(), took = this.child("#took", HTMLElement);
    const waits = awaited || !image;
    took.textContent = waits ? (failures.photo || !model ? "" : words.looking)
      : fill(words.took, { milliseconds: Math.round(get().latency) });
    if (!image) return;
    if (image !== this.#asked.image || ablated !== this.#asked.ablated) await this.#compute(image, ablated);
    this.#drawBars();
    this.#drawAblated();
    this.child("#unsure", HTMLElement).hidden = !image.unsure;
    this.child("#unfamiliar", HTMLElement).hidden = !image.unfamiliar;
  }

  /** Find the rows without the channels. @param {import("./api.js").ImageAnswer} image
   * @param {import("./store.js").State["ablated"]} ablated */
  async #compute(image, ablated) {
    this.closed();
    if (image === this.#shown.image && ablated === this.#shown.ablated) return;
    const { signal } = (this.#request = new AbortController());
    const asked = (this.#asked = { image, ablated });
    /** @type {import("./api.js").AblatedRow[] | undefined} */
    let rows = ablated.size ? undefined : image.top.map(unchanged);
    if (ablated.size) {
      this.#progress.begin(() => patch({ ablated: this.#shown.ablated }));
      await attempt("answer", async () => {
        for await (const stage of fetchAblation(image, [...ablated], signal)) {
          this.#progress.at(stage.done, stage.total);
          rows = stage.rows;
        }
      });
      if (signal.aborted) return;
      this.#progress.end();
    }
    if (!rows) return;
    this.#rows = rows;
    this.#shown = asked;
  }

  /** Nobody looks: what is being computed is asked for again when the view is opened. */
  closed() {
    this.#request.abort();
    this.#progress.end();
    this.#asked = this.#shown;
  }

  /** The bars of classes that were there before move to their new length. */
  #drawBars() {
    const { image, target } = get(), { ablated } = this.#shown, chosen = target ?? image?.top[0].index;
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
      const figure = ablated.size ? share(before) + " → " + share(after) : share(after);
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
    const names = [...this.#shown.ablated];
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
