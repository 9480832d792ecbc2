// The photograph with overlays: heat map, receptive field, positions of the sliding classifier.
import { glow, heat } from "./colours.js";
import { frame, PageElement, sized } from "./element.js";
import { boxOnPhoto, isEmpty } from "./geometry.js";
import { litField, shownField } from "./seen.js";
import { get, patch } from "./store.js";
import { fill } from "./ui.js";
import { words } from "./words.js";

/** CSS pixels. */
const tallest = () => (innerHeight < 800 ? 150 : 210);

class PhotoView extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = [
    "photo", "awaited", "overlay", "position", "field", "lit", "attribution", "classMap", "classMapCell", "scores",
    "scoreCell", "opacity", "language", "image",
  ];
  #canvas = this.child("canvas", HTMLCanvasElement);
  #largest = Number(this.getAttribute("largest")); // CSS pixels of the longer side

  connectedCallback() {
    super.connectedCallback();
    if (!this.hasAttribute("pointable")) return;
    this.#canvas.addEventListener("pointermove", event => {
      const { photo } = get(), frame = this.#canvas.getBoundingClientRect();
      if (!photo) return;
      const row = ((event.clientY - frame.top) / frame.height) * photo.bitmap.height;
      patch({ photoPoint: [row, ((event.clientX - frame.left) / frame.width) * photo.bitmap.width] });
    });
  }

  update() {
    const { photo, awaited, image, model } = get(), bitmap = awaited ?? photo?.bitmap;
    if (!bitmap) return;
    const { width, height } = bitmap;
    const scale = Math.min(this.#largest / width, Math.min(this.#largest, tallest()) / height);
    const context = sized(this.#canvas, Math.max(1, width * scale), Math.max(1, height * scale));
    context.imageSmoothingEnabled = scale < 3; // a tiny image shows its pixels
    context.drawImage(bitmap, 0, 0, width * scale, height * scale);
    const label = fill(words.photoLabel, { width, height });
    if (this.hasAttribute("pointable")) this.#canvas.setAttribute("aria-label", label);
    const placement = photo?.image.placement;
    if (awaited || !photo || !placement || !model?.glass || image !== photo.image) return;
    context.scale(scale, scale);
    context.imageSmoothingEnabled = true;
    overlay(context, { width, height, placement }, model.size, 2 / scale);
  }
}

/** @param {CanvasRenderingContext2D} context in the photograph's pixels
 * @param {import("./geometry.js").Placed} photo @param {number} size of the network's square @param {number} line */
function overlay(context, photo, size, line) {
  const { overlay: shown, field, attribution, classMap, classMapCell, scores, scoreCell, opacity, method } = get();
  const square = boxOnPhoto(photo, { top: 0, left: 0, bottom: size, right: size });
  const picture = method === "class-map" ? classMap?.picture : attribution;
  if (shown === "evidence" && picture) {
    context.globalAlpha = opacity;
    fillBox(context, heat(picture), square);
    context.globalAlpha = 1;
    if (classMap && classMapCell) frameBox(context, boxOnPhoto(photo, cellBox(classMapCell, classMap.cell)), line);
  }
  if (shown === "sliding" && scores) {
    drawScores(context, photo, scores);
    if (scoreCell) frameBox(context, scoreBox(photo, scores, scoreCell), line);
  }
  if (shown !== "field") return;
  if (field) fillBox(context, glow(field), square);
  for (const box of [shownField(), litField()]) if (box && !isEmpty(box)) frameBox(context, box, line);
}

/** A cell of the grid that divides the network's square.
 * @param {import("./store.js").Cell} cell @param {number} side */
const cellBox = ([row, column], side) => ({
  top: row * side, left: column * side, bottom: (row + 1) * side, right: (column + 1) * side,
});

/** The square that a sliding classifier covers at a position of its map.
 * @param {{width: number, height: number}} photo @param {import("./api.js").Scores} scores
 * @param {import("./store.js").Cell} cell */
function scoreBox(photo, { step, side, height, width }, [row, column]) {
  const down = photo.height / height, across = photo.width / width;
  return {
    top: row * step * down, left: column * step * across,
    bottom: (row * step + side) * down, right: (column * step + side) * across,
  };
}

/** @param {CanvasRenderingContext2D} context @param {OffscreenCanvas} picture
 * @param {import("./geometry.js").Box} box */
function fillBox(context, picture, { top, left, bottom, right }) {
  context.drawImage(picture, left, top, right - left, bottom - top);
}

/** @param {CanvasRenderingContext2D} context @param {import("./geometry.js").Box} box @param {number} line */
function frameBox(context, { top, left, bottom, right }, line) {
  frame(context, left, top, right - left, bottom - top, line);
}

/** Draw each position as a cell around the centre of its square.
 * @param {CanvasRenderingContext2D} context @param {{width: number, height: number}} photo
 * @param {import("./api.js").Scores} scores */
function drawScores(context, photo, { picture, probabilities, step, side, height, width }) {
  const down = photo.height / height, across = photo.width / width, first = side / 2 - step / 2;
  context.globalAlpha = get().opacity;
  context.imageSmoothingEnabled = false;
  context.drawImage(
    heat(picture), first * across, first * down,
    probabilities[0].length * step * across, probabilities.length * step * down,
  );
  context.globalAlpha = 1;
}

customElements.define("photo-view", PhotoView);
