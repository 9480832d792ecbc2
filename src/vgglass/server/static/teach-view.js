// The view Teach: follows the lesson while it is open, and takes photographs from drops and pastes.
import { PageElement } from "./element.js";
import { get, patch } from "./store.js";
import "./teach-ask.js";
import "./teach-baskets.js";
import { dropped, IMAGES, PHOTOGRAPHS } from "./teach-drop.js";
import { follow, move, send, undo } from "./teach-lesson.js";
import "./teach-summary.js";
import "./teach-suspects.js";
import "./teach-trial.js";
import { fill, make } from "./ui.js";
import { words } from "./words.js";

class TeachView extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["view", "language", "lesson", "picked"];
  /** @type {AbortController | null} */
  #following = null;
  #lead = this.child(".lead", HTMLElement);
  #start = this.child(".start", HTMLElement);
  #said = this.child(".said", HTMLElement);
  #sending = this.child(".sending", HTMLElement);
  #picked = this.child(".picked", HTMLElement);

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener(PHOTOGRAPHS, event => {
      if (event instanceof CustomEvent) this.#put(event.detail);
    });
    addEventListener("drop", event => this.#drop(event));
    addEventListener("paste", event => this.#paste(event));
    addEventListener("keydown", event => this.#key(event));
    for (const name of ["dragover", "dragleave", "drop"]) {
      addEventListener(name, event => mark(name === "dragover" && event instanceof DragEvent ? event.target : null));
    }
  }

  get #open() {
    return get().view === "teach";
  }

  update() {
    this.#follow();
    const texts = words.teach, { lesson, picked } = get();
    if (!this.#open || !lesson) return;
    this.#lead.textContent = texts.lead;
    this.#start.textContent = texts.start;
    this.#start.hidden = lesson.numbers.length > 30;
    this.#picked.hidden = !picked.size;
    if (!picked.size) return;
    this.#picked.replaceChildren(
      make("span", {}, fill(texts.chosen, { count: picked.size })),
      ...[...lesson.classes.map(each => each.name), null].map((label, index) => make("button", {
        type: "button", onclick: () => move([...get().picked], label),
      }, label === null ? `→ ${texts.tray}` : `${index < 9 ? index + 1 + " " : ""}→ ${label}`)),
      make("button", { type: "button", onclick: () => patch({ picked: new Set() }) }, texts.chooseNone));
  }

  #follow() {
    if (this.#open && get().model && !this.#following) {
      this.#following = new AbortController();
      follow(this.#following.signal);
    } else if (!this.#open && this.#following) {
      this.#following.abort();
      this.#following = null;
    }
  }

  /** @param {DragEvent} event */
  async #drop(event) {
    if (!this.#open || !event.dataTransfer) return;
    event.preventDefault();
    const label = place(event.target), images = event.dataTransfer.getData(IMAGES);
    if (images) {
      if (label !== undefined) move(JSON.parse(images), label);
      return;
    }
    if (event.target instanceof Element && event.target.closest("teach-trial")) return; // it takes its own
    this.#put(await dropped(event.dataTransfer, label ?? null));
  }

  /** @param {ClipboardEvent} event */
  #paste(event) {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!this.#open || !files.length) return;
    this.#put(files.map(file => ({ file, name: file.name, label: place(document.activeElement) ?? null })));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (!this.#open || event.target instanceof HTMLInputElement) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && get().lesson?.undo) {
      event.preventDefault();
      undo();
    }
  }

  /** Send photographs, saying how far it is. @param {import("./teach-lesson.js").Photograph[]} photographs */
  async #put(photographs) {
    if (!photographs.length) return;
    const texts = words.teach, abort = new AbortController(), count = photographs.length;
    const cancel = make("button", { type: "button", onclick: () => abort.abort() }, texts.cancel);
    const said = make("span");
    this.#sending.hidden = count < 3;
    this.#sending.replaceChildren(said, " ", cancel);
    this.#said.textContent = "";
    const progress = (/** @type {number} */ done) => {
      said.textContent = fill(texts.uploading, { done, count });
    };
    progress(0);
    this.#said.textContent = await send(photographs, progress, abort.signal);
    this.#sending.hidden = true;
  }
}

/** The class, or null for the tray, that something on the page belongs to; undefined for none.
 * @param {EventTarget | null} target */
function place(target) {
  const found = target instanceof Element ? target.closest("[data-label], [data-tray]") : null;
  if (!(found instanceof HTMLElement)) return undefined;
  return found.dataset.label ?? null;
}

/** Show where a drop would go. @param {EventTarget | null} target */
function mark(target) {
  const over = target instanceof Element ? target.closest("#teach [data-label], #teach [data-tray]") : null;
  for (const each of document.querySelectorAll("#teach .over")) if (each !== over) each.classList.remove("over");
  over?.classList.add("over");
}

customElements.define("teach-view", TeachView);
