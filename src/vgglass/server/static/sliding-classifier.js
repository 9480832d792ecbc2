// The classifier as a convolution: scores at every position of the whole photograph.
import { fetchScores } from "./api.js";
import { PageElement } from "./element.js";
import { attempt } from "./failures.js";
import { get, patch, touches } from "./store.js";
import { fill } from "./ui.js";
import { joined, number, percent, words } from "./words.js";

const STRIDE = 32; // pixels of the network's input from one place of pool5 to the next

class SlidingClassifier extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "photo", "overlay", "target", "scores", "scoreCell", "photoPoint"];
  #request = new AbortController();

  connectedCallback() {
    super.connectedCallback();
    this.child("#slideCancel", HTMLElement).addEventListener("click", () => patch({ overlay: "field" }));
  }

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { model, scores, overlay, photo } = get();
    if (!model?.glass) return;
    if (changed.has("photoPoint")) pointAtPhoto();
    const pooled = model.head === "pooled", small = overlay === "sliding" && photo ? tooSmall(photo, model.size) : "";
    this.child("#denseNote", HTMLElement).textContent = pooled ? words.denseNotePooled : words.denseNote;
    this.child("#slideLegend", HTMLElement).textContent = scores ? legend(scores) : small;
    this.child("#slidePlace", HTMLElement).textContent = scores ? place(scores) : "";
    if (touches(changed, "photo", "overlay", "target")) await this.#fetch(Boolean(small));
  }

  /** @param {boolean} small whether the classifier does not fit on the photograph */
  async #fetch(small) {
    this.#request.abort();
    const { signal } = (this.#request = new AbortController()), working = this.child("#slideWorking", HTMLElement);
    const { photo, image, overlay, target } = get();
    patch({ scores: null, scoreCell: null });
    working.hidden = true;
    if (small || overlay !== "sliding" || !image || photo?.image !== image) return;
    working.hidden = false;
    this.child("progress", HTMLElement).setAttribute("aria-label", words.working);
    const scores = await attempt("overlay", () => fetchScores(image, target ?? image.top[0].index, signal));
    if (signal.aborted) return;
    working.hidden = true;
    if (scores && image === get().image) patch({ scores });
  }
}

/** Why the classifier can't slide over a photograph that is smaller than it; '' if it can.
 * @param {{bitmap: {width: number, height: number}}} photo @param {number} size of the network's square */
function tooSmall({ bitmap: { width, height } }, size) {
  const side = STRIDE * Math.floor(size / STRIDE);
  return Math.min(width, height) < side ? fill(words.slideTooSmall, { width, height, side }) : "";
}

/** @param {import("./api.js").Scores} scores */
function place({ probabilities, likeliest, names, class: name }) {
  const { scoreCell } = get();
  if (!scoreCell) return "";
  const [row, column] = scoreCell, probability = percent(probabilities[row][column]);
  return fill(words.slidePlace, { row, column, class: name, probability, likeliest: names[likeliest[row][column]] });
}

/** @param {import("./api.js").Scores} scores */
function legend({ probabilities, class: name, largest, mean, both }) {
  const [rows, columns] = [probabilities.length, probabilities[0].length];
  const input = [...both.input].reverse().join("×");
  return joined(
    fill(words.slideLegend, { class: name, columns, rows, largest: percent(largest), mean: percent(mean) }),
    fill(both.layer === "fc8" ? words.slideSamePooled : words.slideSame, {
      outputs: both.outputs, shape: input, difference: both.difference.toPrecision(2), largest: number(both.largest),
    }),
  );
}

/** The position whose square's centre is nearest to the pointer. */
function pointAtPhoto() {
  const { scores, photo, photoPoint } = get();
  if (!scores || !photo || !photoPoint) return;
  const { probabilities, side, step, height, width } = scores;
  const nearest = (/** @type {number} */ share, /** @type {number} */ whole, /** @type {number} */ count) =>
    Math.min(count - 1, Math.max(0, Math.round((share * whole - side / 2) / step)));
  const row = nearest(photoPoint[0] / photo.bitmap.height, height, probabilities.length);
  const column = nearest(photoPoint[1] / photo.bitmap.width, width, probabilities[0].length);
  patch({ scoreCell: [row, column] });
}

customElements.define("sliding-classifier", SlidingClassifier);
