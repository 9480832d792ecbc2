// A grid of thumbnails of which only those in sight are in the document: thousands stay fluent.
import { get, patch } from "./store.js";
import { IMAGES } from "./teach-drop.js";
import { act, explain, move } from "./teach-lesson.js";
import { showThumbnail } from "./teach-thumbnails.js";
import { make } from "./ui.js";

const CELL = 68; // pixels, with the gap
const MOVES = new Map([["ArrowRight", 1], ["ArrowLeft", -1]]);

export class TeachGrid extends HTMLElement {
  /** @type {number[]} */
  #numbers = [];
  /** @type {string[]} */
  #digests = [];
  /** @type {(number: number) => string} */
  #mark = () => "";
  #active = 0;
  /** @type {Map<number, HTMLElement>} by number */
  #cells = new Map();
  #inner = make("div", { class: "inner", role: "presentation" });
  #resized = new ResizeObserver(() => this.#draw());

  connectedCallback() {
    if (this.#inner.isConnected) return;
    this.tabIndex = 0;
    this.setAttribute("role", "listbox");
    this.setAttribute("aria-multiselectable", "true");
    this.append(this.#inner);
    this.addEventListener("scroll", () => this.#draw(), { passive: true });
    this.addEventListener("keydown", event => this.#key(event));
    this.addEventListener("click", event => this.#click(event));
    this.addEventListener("dragstart", event => this.#drag(event));
    this.#resized.observe(this);
  }

  disconnectedCallback() {
    this.#resized.disconnect();
    this.#inner.remove();
  }

  /** @param {number[]} numbers @param {string[]} digests @param {(number: number) => string} mark its classes
   * @param {string} label */
  show(numbers, digests, mark, label) {
    this.#numbers = numbers;
    this.#digests = digests;
    this.#mark = mark;
    this.#active = Math.min(this.#active, Math.max(0, numbers.length - 1));
    this.setAttribute("aria-label", label);
    this.hidden = !numbers.length;
    this.#draw();
  }

  get #columns() {
    return Math.max(1, Math.floor(this.clientWidth / CELL));
  }

  #draw() {
    const columns = this.#columns, count = this.#numbers.length;
    this.#inner.style.height = Math.ceil(count / columns) * CELL + "px";
    const first = Math.max(0, Math.floor(this.scrollTop / CELL) - 1) * columns;
    const last = Math.min(count, (Math.ceil((this.scrollTop + this.clientHeight) / CELL) + 1) * columns);
    const { picked, tried } = get(), before = this.#cells;
    this.#cells = new Map();
    for (let index = first; index < last; index++) {
      const number = this.#numbers[index], cell = before.get(number) ?? this.#cell(number, this.#digests[index]);
      before.delete(number);
      this.#cells.set(number, cell);
      cell.style.transform = `translate(${(index % columns) * CELL}px, ${Math.floor(index / columns) * CELL}px)`;
      cell.className = "thumb " + this.#mark(number);
      cell.id = `image-${number}`;
      cell.setAttribute("aria-selected", String(picked.has(number)));
      cell.setAttribute("aria-label", String(index + 1));
      cell.toggleAttribute("data-active", index === this.#active);
      cell.toggleAttribute("data-open", number === tried?.number);
      if (!cell.isConnected) this.#inner.append(cell);
    }
    for (const cell of before.values()) cell.remove();
    const active = this.#numbers[this.#active];
    if (active !== undefined) this.setAttribute("aria-activedescendant", `image-${active}`);
  }

  /** @param {number} number @param {string} digest */
  #cell(number, digest) {
    const image = make("img", { alt: "", draggable: "false", width: CELL - 4, height: CELL - 4 });
    const cell = make("div", { role: "option", draggable: "true", "data-number": number }, image);
    queueMicrotask(() => showThumbnail(image, number, digest));
    return cell;
  }

  /** @param {Event} event */
  #at(event) {
    const cell = event.target instanceof Element ? event.target.closest("[data-number]") : null;
    return cell instanceof HTMLElement ? Number(cell.dataset.number) : null;
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const number = this.#at(event);
    if (number === null) return;
    const index = this.#numbers.indexOf(number), picked = new Set(get().picked);
    if (event.shiftKey) {
      const [from, to] = [Math.min(index, this.#active), Math.max(index, this.#active)];
      for (const each of this.#numbers.slice(from, to + 1)) picked.add(each);
    } else if (!picked.delete(number)) picked.add(number);
    this.#active = index;
    patch({ picked });
    if (picked.has(number)) explain(number);
  }

  /** @param {DragEvent} event */
  #drag(event) {
    const number = this.#at(event), { picked } = get();
    if (number === null || !event.dataTransfer) return;
    event.dataTransfer.setData(IMAGES, JSON.stringify(picked.has(number) ? [...picked] : [number]));
    event.dataTransfer.effectAllowed = "move";
  }

  /** The picked images, or else the one that the keys stand on. */
  get #chosen() {
    const { picked } = get(), here = this.#numbers[this.#active];
    return picked.has(here) ? [...picked] : [here];
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const columns = this.#columns, number = this.#numbers[this.#active];
    const step = MOVES.get(event.key) ?? { ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || number === undefined) return;
    if (step !== undefined) this.#go(this.#active + step);
    else if (event.key === "Home" || event.key === "End") this.#go(event.key === "End" ? this.#numbers.length - 1 : 0);
    else if (event.key === "Enter") explain(number);
    else if (event.key === " ") {
      const picked = new Set(get().picked);
      if (!picked.delete(number)) picked.add(number);
      patch({ picked });
    } else if (event.key === "Delete" || event.key === "Backspace") act({ what: "remove", images: this.#chosen });
    else if (/^[1-9]$/.test(event.key)) {
      const target = get().lesson?.classes[Number(event.key) - 1];
      if (!target) return;
      move(this.#chosen, target.name);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {number} index */
  #go(index) {
    this.#active = Math.min(this.#numbers.length - 1, Math.max(0, index));
    const top = Math.floor(this.#active / this.#columns) * CELL;
    if (top < this.scrollTop) this.scrollTop = top;
    else if (top + CELL > this.scrollTop + this.clientHeight) this.scrollTop = top + CELL - this.clientHeight;
    this.#draw();
  }
}

customElements.define("teach-grid", TeachGrid);
