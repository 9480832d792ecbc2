// The baskets, one a class, and the form of a new one.
import { PageElement } from "./element.js";
import { get } from "./store.js";
import { chosenFolder, give } from "./teach-drop.js";
import { TeachGrid } from "./teach-grid.js";
import { act } from "./teach-lesson.js";
import { TeachTrial } from "./teach-trial.js";
import { fill, make } from "./ui.js";
import { words } from "./words.js";

/** A basket's parts that stay while its photographs change.
 * @typedef {{element: HTMLElement, head: HTMLElement, grid: TeachGrid, empty: HTMLElement}} Basket */

export class TeachBaskets extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["lesson", "language", "picked", "tried"];
  /** @type {Map<string, Basket>} */
  #baskets = new Map();
  #list = make("div", { class: "baskets" });
  #name = make("input", { type: "text", maxlength: 80, name: "class" });
  #add = make("button", {});
  #form = make("form", { class: "newClass" }, this.#name, this.#add);

  connectedCallback() {
    if (!this.childElementCount) this.append(this.#form, this.#list);
    this.#form.onsubmit = async event => {
      event.preventDefault();
      if (await act({ what: "add-class", label: this.#name.value })) this.#name.value = "";
    };
    super.connectedCallback();
  }

  /** @param {import("./store.js").Changed} changed */
  update(changed) {
    const { lesson } = get(), texts = words.teach;
    if (!lesson) return;
    this.#name.placeholder = texts.newClassName;
    this.#name.setAttribute("aria-label", texts.newClassName);
    this.#add.textContent = texts.add;
    if (changed.has("language")) this.#baskets.clear();
    const before = this.#baskets, suspects = new Set(lesson.suspects);
    this.#baskets = new Map();
    lesson.classes.forEach(({ name, images }, index) => {
      const basket = before.get(name) ?? this.#basket(name);
      this.#baskets.set(name, basket);
      const key = index < 9 ? make("kbd", {}, index + 1) : "";
      basket.head.replaceChildren(key, " ", name, " ", make("small", {}, counted(images)));
      basket.empty.hidden = images > 0;
      const places = [...lesson.labels.keys()].filter(at => lesson.labels[at] === index).reverse();
      const numbers = places.map(at => lesson.numbers[at]);
      basket.grid.show(
        numbers, places.map(at => lesson.digests[at]), number => (suspects.has(number) ? "suspect" : ""),
        fill(texts.gridLabel, { class: name, count: images }));
    });
    const elements = [...this.#baskets.values()].map(each => each.element);
    if (elements.some((each, index) => this.#list.children[index] !== each)
      || this.#list.childElementCount !== elements.length) this.#list.replaceChildren(...elements);
  }

  /** @param {string} name @returns {Basket} */
  #basket(name) {
    const texts = words.teach, grid = new TeachGrid();
    const head = make("h3", {}), empty = make("p", { class: "note" }, fill(texts.empty, { class: name }));
    const tools = make("div", { class: "choices" },
      chooser(texts.choose, false, files => [...files].map(file => ({ file, name: file.name, label: name }))),
      chooser(texts.chooseFolder, true, files => chosenFolder(files).map(each => ({ ...each, label: name }))),
      burst(name), this.#menu(name));
    const element = make("section", { class: "basket", "data-label": name }, head, empty, grid, tools);
    return { element, head, grid, empty };
  }

  /** What changes a class: its name, merging and deleting it. @param {string} name */
  #menu(name) {
    const texts = words.teach, input = make("input", { type: "text", value: name, maxlength: 80 });
    input.setAttribute("aria-label", fill(texts.renameTo, { class: name }));
    const rename = make("form", {}, input, make("button", {}, texts.rename));
    rename.onsubmit = event => {
      event.preventDefault();
      act({ what: "rename", label: name, to: input.value });
    };
    const others = make("select", { "aria-label": texts.merge });
    others.onchange = () => act({ what: "merge", label: name, to: others.value });
    const menu = make("details", { class: "menu" },
      make("summary", { "aria-label": fill(texts.more, { class: name }) }, "⋯"),
      make("div", {}, rename, others,
        make("button", {
          type: "button", title: texts.deleteHint, onclick: () => act({ what: "delete-class", label: name }),
        }, texts.delete)));
    menu.ontoggle = () => {
      const classes = (get().lesson?.classes ?? []).filter(each => each.name !== name);
      others.replaceChildren(make("option", { value: "", disabled: true, selected: true }, texts.merge),
        ...classes.map(each => make("option", { value: each.name }, each.name)));
      others.hidden = !classes.length;
    };
    return menu;
  }
}

/** A button that opens the chooser of files, or of a folder.
 * @param {string} text @param {boolean} folder
 * @param {(files: FileList) => import("./teach-lesson.js").Photograph[]} read */
export function chooser(text, folder, read) {
  const input = make("input", {
    type: "file", multiple: true, hidden: true, accept: folder ? null : "image/*", webkitdirectory: folder,
  });
  input.onchange = () => {
    if (input.files) give(input, read(input.files));
    input.value = "";
  };
  const button = make("button", { type: "button", onclick: () => input.click() }, text);
  return make("span", {}, button, input);
}

/** A button that photographs as long as it is held, where the camera is on. @param {string} label */
function burst(label) {
  const button = make("button", { type: "button", class: "burst" }, words.teach.burst);
  const trial = () => {
    const found = document.querySelector("teach-trial");
    return found instanceof TeachTrial ? found : null;
  };
  /** @type {(() => void) | null} */
  let stop = null;
  const begin = () => {
    stop ??= trial()?.burst(taken => give(button, taken.map(each => ({ ...each, label })))) ?? null;
  };
  const end = () => {
    stop?.();
    stop = null;
  };
  button.onpointerdown = begin;
  button.onpointerup = button.onpointerleave = button.onblur = end;
  button.onkeydown = event => {
    if (event.key === " " || event.key === "Enter") begin();
  };
  button.onkeyup = end;
  return button;
}

/** @param {number} count */
export const counted = count => (count === 1 ? words.teach.one : fill(words.teach.images, { count }));

customElements.define("teach-baskets", TeachBaskets);
