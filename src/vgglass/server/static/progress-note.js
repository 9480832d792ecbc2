// Progress of what takes its time, with a button that stops it; nothing is shown of what is there at once.
import { make } from "./ui.js";
import { words } from "./words.js";

const PATIENCE = 400; // milliseconds until it appears

export class ProgressNote extends HTMLElement {
  #timer = 0;
  #bar = make("progress");

  /** @param {() => void} stop what the button does */
  begin(stop) {
    this.end();
    this.#bar = make("progress", { "aria-label": words.working });
    this.replaceChildren(this.#bar, make("button", { type: "button", onclick: stop }, words.cancel));
    this.#timer = setTimeout(() => (this.hidden = false), PATIENCE);
  }

  /** @param {number} done @param {number} total */
  at(done, total) {
    Object.assign(this.#bar, { value: done, max: total });
  }

  end() {
    clearTimeout(this.#timer);
    this.hidden = true;
  }
}

customElements.define("progress-note", ProgressNote);
