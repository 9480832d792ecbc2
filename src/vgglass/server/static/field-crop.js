// The part of the photograph in the receptive field, enlarged, and in it what one pixel of the window sees.
import { PageElement, frame, sized } from "./element.js";
import { isEmpty } from "./geometry.js";
import { litField, shownField } from "./seen.js";
import { get } from "./store.js";

const SIDE = 96; // CSS pixels

class FieldCrop extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["photo", "position", "image", "lit", "step", "overlay"];
  #canvas = this.child("canvas", HTMLCanvasElement);

  update() {
    const { photo, overlay } = get(), box = shownField();
    if (overlay !== "field") return;
    const context = sized(this.#canvas, SIDE, SIDE);
    if (!photo || !box || isEmpty(box)) return;
    const [width, height] = [box.right - box.left, box.bottom - box.top], scale = SIDE / Math.max(width, height);
    const [left, top] = [(SIDE - width * scale) / 2, (SIDE - height * scale) / 2];
    context.imageSmoothingEnabled = scale < 3;
    context.drawImage(photo.bitmap, box.left, box.top, width, height, left, top, width * scale, height * scale);
    const lit = litField();
    if (!lit || isEmpty(lit)) return;
    const [x, y] = [left + (lit.left - box.left) * scale, top + (lit.top - box.top) * scale];
    frame(context, x, y, (lit.right - lit.left) * scale, (lit.bottom - lit.top) * scale, 1.5);
  }
}

customElements.define("field-crop", FieldCrop);
