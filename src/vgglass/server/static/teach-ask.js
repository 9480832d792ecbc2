// The tray: photographs without a class, and the one that is asked about.
import { PageElement } from "./element.js";
import { get } from "./store.js";
import { chooser, counted } from "./teach-baskets.js";
import { fetchSquare } from "./teach-api.js";
import { chosenFolder } from "./teach-drop.js";
import { TeachGrid } from "./teach-grid.js";
import { move } from "./teach-lesson.js";
import { fill, make } from "./ui.js";
import { joined, percent, words } from "./words.js";

const SURE = 0.9; // from which the rest may be sorted by the answers

class TeachAsk extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["lesson", "language", "picked", "tried"];
  #skipped = new Set();
  #shown = 0;
  #title = make("h3");
  #note = make("p", { class: "note" });
  #picture = make("img", { alt: "", class: "asked" });
  #question = make("h4");
  #why = make("p", { class: "note", "aria-live": "polite" });
  #answers = make("div", { class: "choices", role: "group" });
  #keys = make("p", { class: "note" });
  #asking = make("div", { class: "asking" }, this.#picture,
    make("div", {}, this.#question, this.#why, this.#answers, this.#keys));
  #grid = new TeachGrid();
  #tools = make("div", { class: "choices" });

  connectedCallback() {
    if (!this.childElementCount) {
      this.append(make("section", { "data-tray": "" }, this.#title, this.#note, this.#asking, this.#grid, this.#tools));
    }
    super.connectedCallback();
    addEventListener("keydown", event => this.#key(event));
  }

  /** @param {import("./store.js").Changed} changed */
  update(changed) {
    const { lesson } = get(), texts = words.teach;
    if (!lesson) return;
    const places = [...lesson.labels.keys()].filter(at => lesson.labels[at] < 0).reverse();
    this.#title.replaceChildren(texts.tray, " ", make("small", {}, counted(places.length)));
    const unreadable = Object.values(lesson.unreadable);
    this.#note.textContent = joined(
      places.length ? "" : texts.trayEmpty,
      lesson.waiting ? fill(texts.waiting, { count: lesson.waiting }) : "",
      unreadable.length ? fill(texts.unreadable, { count: unreadable.length, reason: unreadable[0] }) : "");
    const unfamiliar = new Set(lesson.unfamiliar);
    this.#grid.show(
      places.map(at => lesson.numbers[at]), places.map(at => lesson.digests[at]),
      number => (unfamiliar.has(number) ? "unfamiliar" : ""),
      fill(texts.gridLabel, { class: texts.tray, count: places.length }));
    if (!changed.has("lesson") && !changed.has("language")) return;
    this.#ask(places);
    this.#offer(places);
  }

  get #asked() {
    return get().lesson?.asked.find(number => !this.#skipped.has(number));
  }

  /** @param {number[]} places of the tray */
  #ask(places) {
    const { lesson } = get(), texts = words.teach, number = this.#asked;
    this.#asking.hidden = number === undefined || !lesson?.classes.length;
    if (!lesson || number === undefined || this.#asking.hidden) return;
    const at = places.find(place => lesson.numbers[place] === number) ?? -1, answer = lesson.answers[at] ?? -1;
    this.#question.textContent = texts.ask;
    this.#why.textContent = joined(
      answer < 0 ? texts.askFirst
        : fill(texts.askUnsure, { class: lesson.classes[answer].name, share: percent(lesson.shares[at]) }),
      lesson.unfamiliar.includes(number) ? texts.unfamiliar : "");
    this.#answers.replaceChildren(...lesson.classes.map(({ name }, index) => make("button", {
      type: "button", onclick: () => move([number], name),
    }, index < 9 ? make("kbd", {}, index + 1) : "", " " + name)), make("button", {
      type: "button", onclick: () => this.#skip(),
    }, make("kbd", {}, 0), " " + texts.skip));
    this.#keys.textContent = texts.askKeys;
    if (number !== this.#shown) this.#show(number);
  }

  /** @param {number} number */
  async #show(number) {
    this.#shown = number;
    const blob = await fetchSquare(number);
    if (number !== this.#shown) return;
    URL.revokeObjectURL(this.#picture.src);
    this.#picture.src = URL.createObjectURL(blob);
    this.#picture.alt = words.teach.ask;
  }

  #skip() {
    this.#skipped.add(this.#asked);
    const { lesson } = get();
    if (lesson && this.#asked === undefined) this.#skipped.clear();
    if (lesson) this.#ask([...lesson.labels.keys()].filter(at => lesson.labels[at] < 0));
  }

  /** Offer to sort what the network is sure of. @param {number[]} places of the tray */
  #offer(places) {
    const { lesson } = get(), texts = words.teach;
    if (!lesson) return;
    const unfamiliar = new Set(lesson.unfamiliar);
    const sure = places.filter(
      at => lesson.answers[at] >= 0 && lesson.shares[at] >= SURE && !unfamiliar.has(lesson.numbers[at]));
    const sort = make("button", {
      type: "button",
      onclick: async () => {
        for (const [index, { name }] of lesson.classes.entries()) {
          await move(sure.filter(at => lesson.answers[at] === index).map(at => lesson.numbers[at]), name);
        }
      },
    }, fill(texts.sortRest, { share: percent(SURE), count: sure.length }));
    this.#tools.replaceChildren(
      chooser(texts.choose, false, files => [...files].map(file => ({ file, name: file.name, label: null }))),
      chooser(texts.chooseFolder, true, chosenFolder),
      ...(sure.length && lesson.accuracy?.known ? [sort] : []));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { lesson, view } = get(), { target } = event;
    if (view !== "teach" || !lesson || event.ctrlKey || event.metaKey || event.altKey) return;
    if ([HTMLInputElement, HTMLSelectElement, TeachGrid].some(kind => target instanceof kind)) return;
    const number = this.#asked;
    if (number === undefined || this.#asking.hidden || !/^[0-9]$/.test(event.key)) return;
    const chosen = lesson.classes[Number(event.key) - 1];
    if (event.key === "0") this.#skip();
    else if (chosen) move([number], chosen.name);
  }
}

customElements.define("teach-ask", TeachAsk);
