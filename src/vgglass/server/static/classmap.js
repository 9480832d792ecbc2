// What each place of pool5 adds to a logit, exactly: laid over the photograph, and added up once more here.
import { exact } from "./arithmetic.js";
import { heat } from "./colours.js";
import { cellBox, lay, squareAt } from "./photo.js";
import { at, fill, make, number, say } from "./words.js";

/** What GET …/class-map answered. @type {any} */
let shown = null;

/** @param {any} found @param {HTMLElement} choice of a class to compare with */
export function showClassMap(found, choice) {
  shown = found;
  lay({ heat: heat(found.picture), cell: null });
  const side = found.scores.length;
  const table = make("table", { id: "places" }, make("caption", { class: "hidden" }, say.places));
  found.scores.forEach((row, i) => table.append(make("tr", {}, ...row.map((score, j) => make("td", { onpointermove: () => point(i, j) }, short(score))))));
  at("classMap").hidden = false;
  at("classMap").replaceChildren(
    choice, make("div", { class: "tableBox", tabindex: "0" }, table),
    make("p", { class: "note" }, fill(say.placesNote, side, side, found.cell, found.cell)), sum(found),
    make("p", { class: "note", id: "placeSaid", "aria-live": "polite" }, say.placeHint),
  );
}

/** Three digits, all of them, so that seven columns stand on a telephone. @param {number} score */
const short = score => (Math.abs(score) < 1000 ? score.toPrecision(3) : number(score)).replace("-", "−");

export function hideClassMap() {
  shown = null;
  at("classMap").hidden = true;
  lay({ cell: null });
}

/** The mean of the places plus the bias, reckoned from the numbers that were sent, beside the network's logit. */
function sum({ scores, bias, logit, bound }) {
  const all = scores.flat(), mean = all.reduce((total, score) => total + score, 0) / all.length;
  const difference = Math.abs(mean + bias - logit), agrees = difference <= bound;
  const text = fill(say.placesSum, all.length, exact(mean), exact(bias), exact(mean + bias), exact(logit), difference.toPrecision(2), agrees ? "≤" : ">", bound.toPrecision(2));
  return make("p", { class: "sum " + (agrees ? "good" : "bad"), id: "placesSum" }, (agrees ? "✓ " : "✗ ") + text);
}

/** One place: its cell framed on the photograph, and its share of the logit. @param {number} row @param {number} column */
function point(row, column) {
  const score = shown.scores[row][column], count = shown.scores.length ** 2;
  lay({ cell: cellBox(row, column, shown.cell) });
  at("placeSaid").textContent = fill(say.place, row, column, number(score), number(score / count), number(shown.logit));
}

/** @param {PointerEvent} event over the photograph */
export function placeAt(event) {
  if (!shown) return;
  const [row, column] = squareAt(event).map(pixel => Math.floor(pixel / shown.cell)), side = shown.scores.length;
  if (row >= 0 && column >= 0 && row < side && column < side) point(row, column);
}
