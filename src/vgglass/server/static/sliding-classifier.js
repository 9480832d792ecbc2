// The classifier as a convolution: scores at every position of the whole photograph.
import { fetchScores } from "./api.js";
import { PageElement } from "./element.js";
import { get, patch, touches } from "./store.js";
import { fill } from "./ui.js";
import { joined, number, percent, words } from "./words.js";

class SlidingClassifier extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "photo", "sliding", "target", "scores", "photoPoint"];
  #button = this.child("#slide", HTMLButtonElement);
  #turn = 0;

  connectedCallback() {
    super.connectedCallback();
    this.#button.addEventListener("click", () => {
      if (get().model?.glass) patch({ sliding: !get().sliding, method: "" });
    });
  }

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { model, sliding, scores } = get();
    if (!model?.glass) return;
    if (changed.has("photoPoint")) pointAtPhoto();
    const pooled = model.head === "pooled";
    this.child("#denseNote", HTMLElement).textContent = pooled ? words.denseNotePooled : words.denseNote;
    this.#button.setAttribute("aria-pressed", String(sliding));
    this.child("#slideLegend", HTMLElement).textContent = scores ? legend(scores) : sliding ? words.working : "";
    if (touches(changed, "photo", "sliding", "target")) await this.#fetch();
  }

  async #fetch() {
    const turn = ++this.#turn, { photo, image, sliding, target } = get();
    patch({ scores: null, scoreCell: null });
    if (!sliding || !image || photo?.image !== image) return;
    const scores = await fetchScores(image, target ?? image.top[0].index);
    if (turn === this.#turn && image === get().image) patch({ scores });
  }
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
