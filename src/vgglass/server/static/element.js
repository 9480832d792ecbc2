// Base of the page's custom elements: they render from the store.
import { subscribe, touches } from "./store.js";

/** Light DOM: an element enhances the markup that it contains. */
export class PageElement extends HTMLElement {
  /** What `update` draws from. @type {readonly (keyof import("./store.js").State)[]} */
  watched = [];
  #unsubscribe = () => {};

  connectedCallback() {
    this.#unsubscribe = subscribe(changed => {
      if (touches(changed, ...this.watched)) this.update(changed);
    });
  }

  disconnectedCallback() {
    this.#unsubscribe();
  }

  /** @param {import("./store.js").Changed} changed @returns {void | Promise<void>} */
  update(changed) {
    void changed;
  }

  /** An element inside this one. @template {Element} T @param {string} selector @param {new () => T} type */
  child(selector, type) {
    return found(this.querySelector(selector), type, selector);
  }
}

/** An element of the page by its id. @template {Element} T @param {string} id @param {new () => T} type */
export const byId = (id, type) => found(document.getElementById(id), type, "#" + id);

/** @template {Element} T @param {Element | null} element @param {new () => T} type @param {string} selector */
function found(element, type, selector) {
  if (element instanceof type) return element;
  throw new TypeError(`${selector} is no ${type.name}`);
}

/** @param {HTMLCanvasElement | OffscreenCanvas} canvas */
export function context2d(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new TypeError("this browser draws on no canvas");
  return /** @type {CanvasRenderingContext2D} */ (context);
}

/** A light frame with a dark outline, visible on any picture.
 * @param {CanvasRenderingContext2D} context
 * @param {number} left @param {number} top @param {number} width @param {number} height @param {number} [line] */
export function frame(context, left, top, width, height, line = 2) {
  for (const [colour, thickness] of /** @type {const} */ ([["#000", 2 * line], ["#ffd400", line]])) {
    context.strokeStyle = colour;
    context.lineWidth = thickness;
    context.strokeRect(left, top, width, height);
  }
}

/** Row and column offset of each arrow key. @type {ReadonlyMap<string, import("./store.js").Cell>} */
export const ARROWS = new Map([
  ["ArrowRight", [0, 1]], ["ArrowLeft", [0, -1]], ["ArrowDown", [1, 0]], ["ArrowUp", [-1, 0]],
]);

/** Clamp to a valid index. @param {number} index @param {number} count */
export const clip = (index, count) => Math.min(count - 1, Math.max(0, index));
