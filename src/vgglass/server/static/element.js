// Base of the page's custom elements: they render from the store.
import { get, subscribe, touches } from "./store.js";

/** Light DOM: an element enhances the markup that it contains. In a view that is closed it computes nothing; what
 * changes meanwhile it hears of once the view is opened. */
export class PageElement extends HTMLElement {
  /** What `update` draws from. @type {readonly (keyof import("./store.js").State)[]} */
  watched = [];
  #unsubscribe = () => {};
  /** Changes that it has not heard of. @type {Set<keyof import("./store.js").State>} */
  #missed = new Set();

  connectedCallback() {
    this.#unsubscribe = subscribe(changed => {
      for (const name of changed) this.#missed.add(name);
      const view = this.closest(".view");
      if (view && view.id !== get().view) return this.closed();
      const heard = this.#missed;
      this.#missed = new Set();
      if (touches(heard, ...this.watched)) this.update(heard);
    });
  }

  disconnectedCallback() {
    this.#unsubscribe();
  }

  /** Nobody looks: give up what is being computed. Called again and again while the view is closed. */
  closed() {}

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

/** Give a canvas a size in CSS pixels, and as many of the screen's as it has there: it is sharp at any ratio.
 * @param {HTMLCanvasElement} canvas @param {number} width @param {number} height
 * @returns {CanvasRenderingContext2D} cleared, in CSS pixels */
export function sized(canvas, width, height) {
  const ratio = devicePixelRatio;
  canvas.width = Math.max(1, Math.ceil(width * ratio));
  canvas.height = Math.max(1, Math.ceil(height * ratio));
  canvas.style.width = width + "px";
  canvas.style.height = height + "px";
  const context = context2d(canvas);
  context.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
  return context;
}

/** CSS pixels of a map and of a window among an operation's pictures: they stand in one row, on a phone alone. */
export const pictureSides = () =>
  matchMedia("(min-width: 1101px) and (max-width: 1399px)").matches
    ? { map: 112, window: 84 }
    : { map: 140, window: 110 };

/** A colour of the page's style. @param {string} name as 'orange' */
export const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

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
