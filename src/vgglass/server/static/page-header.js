// The page header: model and engine, and the language.
import { byId, PageElement } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { setLanguage, words } from "./words.js";

class PageHeader extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language"];
  #language = this.child("#language", HTMLButtonElement);

  connectedCallback() {
    super.connectedCallback();
    this.#language.addEventListener("click", () => setLanguage(get().language === "en" ? "zh" : "en"));
  }

  update() {
    const { model, language } = get();
    for (const element of document.querySelectorAll("[data-text]")) element.textContent = word(element);
    this.#language.textContent = words.other;
    this.#language.lang = language === "en" ? "zh-CN" : "en";
    if (!model) return;
    document.title = "vgglass · " + model.name;
    byId("brand", HTMLElement).textContent = document.title;
    const { engine, precision } = model.settings;
    byId("about", HTMLElement).textContent =
      fill(words.about, { architecture: model.glass ? model.architecture : "", engine, precision });
  }
}

/** @param {Element} element with the name of its text */
function word(element) {
  const text = words[/** @type {keyof typeof words} */ (element.getAttribute("data-text"))];
  return typeof text === "string" ? text : "";
}

customElements.define("page-header", PageHeader);
