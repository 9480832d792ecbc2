// The exact contribution of each pool5 position to a logit, as a table over the photograph; the sum is checked here.
import { fetchClassMap } from "./api.js";
import { PageElement } from "./element.js";
import { attempt } from "./failures.js";
import { inSquare } from "./geometry.js";
import { get, patch, touches } from "./store.js";
import { fill, make } from "./ui.js";
import { exact, number, words } from "./words.js";

/** @typedef {import("./api.js").ClassMap} Answer */

class ClassMap extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["photo", "overlay", "method", "target", "against", "language", "classMap", "classMapCell", "photoPoint"];
  #box = this.child("#classMap", HTMLElement);
  #turn = 0;

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    if (changed.has("photoPoint")) pointAtPhoto();
    if (changed.has("classMap") || changed.has("language")) this.#draw();
    if (changed.has("classMapCell")) this.#describeCell();
    if (!touches(changed, "photo", "overlay", "method", "target", "against")) return;
    const turn = ++this.#turn, { photo, image, overlay, method, target, against } = get();
    patch({ classMap: null, classMapCell: null });
    if (overlay !== "evidence" || method !== "class-map" || !image || photo?.image !== image) return;
    const classMap = await attempt("overlay", () => fetchClassMap(image, target ?? image.top[0].index, against));
    if (classMap && turn === this.#turn && image === get().image) patch({ classMap });
  }

  #draw() {
    const { classMap } = get();
    this.#box.hidden = !classMap;
    if (!classMap) return;
    const { scores, cell } = classMap, side = scores.length;
    const table = make("table", { id: "places" }, make("caption", { class: "hidden" }, words.places));
    for (const [row, values] of scores.entries()) {
      table.append(make("tr", {}, ...values.map((score, column) =>
        make("td", { onpointermove: () => patch({ classMapCell: [row, column] }) }, short(score)))));
    }
    this.#box.replaceChildren(
      comparisons(),
      make("div", { class: "tableBox", tabindex: "0" }, table),
      make("p", { class: "note" }, fill(words.placesNote, { rows: side, columns: side, height: cell, width: cell })),
      sum(classMap),
      make("p", { class: "note", id: "placeSaid", "aria-live": "polite" }, words.placeHint),
    );
    this.#describeCell();
  }

  #describeCell() {
    const { classMap, classMapCell } = get();
    if (!classMap || !classMapCell) return;
    const [row, column] = classMapCell, { scores, logit } = classMap, score = scores[row][column];
    const share = score / scores.length ** 2;
    this.child("#placeSaid", HTMLElement).textContent =
      fill(words.place, { row, column, score: number(score), share: number(share), logit: number(logit) });
  }
}

function pointAtPhoto() {
  const { classMap, photo, photoPoint } = get();
  if (!classMap || !photoPoint || !photo?.image.placement) return;
  const { width, height } = photo.bitmap, side = classMap.scores.length;
  const point = inSquare({ width, height, placement: photo.image.placement }, photoPoint);
  const [row, column] = point.map(pixel => Math.floor(pixel / classMap.cell));
  if (row >= 0 && column >= 0 && row < side && column < side) patch({ classMapCell: [row, column] });
}

/** Options for the class to compare with. */
function comparisons() {
  const { image, target, against } = get(), rows = image?.top ?? [];
  const others = rows.filter(row => row.index !== (target ?? rows[0].index));
  return make("div", { class: "choices" }, ...others.map(({ index, class: name }) => make("button", {
    type: "button", "aria-pressed": String(index === against),
    onclick: () => patch({ against: index === against ? null : index }),
  }, fill(words.against, { class: name }))));
}

/** Exactly three digits, so that seven columns fit on a phone. @param {number} score */
const short = score => (Math.abs(score) < 1000 ? score.toPrecision(3) : number(score)).replace("-", "−");

/** The mean of the received scores plus the bias, and the network's logit.
 * @param {Answer} found */
function sum({ scores, bias, logit, bound }) {
  const all = scores.flat(), mean = all.reduce((total, score) => total + score, 0) / all.length;
  const difference = Math.abs(mean + bias - logit), agrees = difference <= bound;
  const text = fill(words.placesSum, {
    places: all.length, mean: exact(mean), bias: exact(bias), sum: exact(mean + bias), logit: exact(logit),
    difference: difference.toPrecision(2), sign: agrees ? "≤" : ">", bound: bound.toPrecision(2),
  });
  return make("p", { class: "sum " + (agrees ? "good" : "bad"), id: "placesSum" }, (agrees ? "✓ " : "✗ ") + text);
}

customElements.define("class-map", ClassMap);
