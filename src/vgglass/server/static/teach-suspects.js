// Photographs that a network taught without them puts into another basket.
import { PageElement } from "./element.js";
import { get } from "./store.js";
import { explain, move } from "./teach-lesson.js";
import { showThumbnail } from "./teach-thumbnails.js";
import { fill, make } from "./ui.js";
import { percent, words } from "./words.js";

const SHOWN = 8;

class TeachSuspects extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["lesson", "language"];
  /** Images that a person has looked at, with the basket that is right. @type {Map<number, string>} */
  #kept = new Map();
  #title = make("h3");
  #note = make("p", { class: "note" });
  #list = make("ul", { class: "suspects" });
  #section = make("section", { hidden: true }, this.#title, this.#note, this.#list);

  connectedCallback() {
    if (!this.childElementCount) this.append(this.#section);
    super.connectedCallback();
  }

  update() {
    const { lesson } = get(), texts = words.teach;
    if (!lesson) return;
    const places = new Map(lesson.numbers.map((number, at) => [number, at]));
    const found = lesson.suspects.flatMap(number => {
      const at = places.get(number) ?? -1, label = lesson.classes[lesson.labels[at]]?.name;
      return label === undefined || this.#kept.get(number) === label ? [] : [{ number, at, label }];
    });
    this.#section.hidden = !found.length;
    this.#title.replaceChildren(texts.suspects, " ", make("small", {}, found.length));
    this.#note.textContent = texts.suspectsNote;
    this.#list.replaceChildren(...found.slice(0, SHOWN).map(({ number, at, label }) => {
      const other = lesson.classes[lesson.answers[at]].name, share = percent(lesson.shares[at]);
      const said = fill(texts.suspect, { class: label, other, share });
      const image = make("img", { alt: "", width: 64, height: 64 });
      queueMicrotask(() => showThumbnail(image, number, lesson.digests[at]));
      return make("li", {},
        make("button", {
          type: "button", class: "thumbButton", "aria-label": said, onclick: () => explain(number),
        }, image),
        make("div", {}, make("span", {}, said), make("div", { class: "choices" },
          make("button", {
            type: "button", onclick: () => move([number], other),
          }, fill(texts.moveTo, { class: other })),
          make("button", { type: "button", onclick: () => this.#keep(number, label) }, texts.keep))));
    }));
  }

  /** @param {number} number @param {string} label */
  #keep(number, label) {
    this.#kept.set(number, label);
    this.update();
  }
}

customElements.define("teach-suspects", TeachSuspects);
