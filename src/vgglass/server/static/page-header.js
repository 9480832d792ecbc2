// The page header: model and engine, and the language.
import { byId, PageElement } from "./element.js";
import { rove } from "./roving.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { setLanguage, words } from "./words.js";

class PageHeader extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "image"];
  #language = this.child("#language", HTMLButtonElement);
  #info = this.child("#info", HTMLButtonElement);

  connectedCallback() {
    super.connectedCallback();
    this.#language.addEventListener("click", () => setLanguage(get().language === "en" ? "zh" : "en"));
    this.#info.addEventListener("click", () => {
      const about = this.child("#about", HTMLElement);
      about.hidden = !about.hidden;
      this.#info.setAttribute("aria-expanded", String(!about.hidden));
    });
    rove(this.child(".tools", HTMLElement));
  }

  update() {
    const { model, language, image } = get();
    for (const element of document.querySelectorAll("[data-text]")) element.textContent = word(element);
    this.#language.textContent = words.other;
    this.#info.setAttribute("aria-label", words.info);
    this.child(".tools", HTMLElement).setAttribute("aria-label", words.tools);
    this.#language.lang = language === "en" ? "zh-CN" : "en";
    if (!model) return;
    document.title = "vgglass · " + model.name;
    byId("brand", HTMLElement).textContent = document.title;
    const { engine, precision, views } = image ?? model.settings;
    byId("engine", HTMLElement).textContent =
      fill(words.about, { architecture: model.glass ? model.architecture : "", engine, precision });
    byId("timing", HTMLElement).textContent = image ? fill(words.computed, { engine, precision, views }) : "";
  }
}

/** @param {Element} element with the name of its text */
function word(element) {
  const text = words[/** @type {keyof typeof words} */ (element.getAttribute("data-text"))];
  return typeof text === "string" ? text : "";
}

customElements.define("page-header", PageHeader);
