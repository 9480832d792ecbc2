// The course: its chapters as cards on the photograph that is open. Each asks for a guess, which the network checks.
import { address } from "./address.js";
import { CARDS } from "./course-cards.js";
import { PageElement } from "./element.js";
import { attempt } from "./failures.js";
import { get, patch, touches } from "./store.js";
import { fill, make } from "./ui.js";
import { words } from "./words.js";

/** @typedef {import("./course-cards.js").Card} Card */
/** @typedef {import("./course-lesson.js").Lesson} Lesson */

const PROGRESS = "course"; // in the browser's storage: by card, whether the last guess was right
const MARKED = 6000; // milliseconds

class CourseView extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["view", "card", "language", "model", "photo", "summaries"];
  #cards = this.child("nav", HTMLElement);
  #article = this.child("article", HTMLElement);
  /** @type {Lesson | null} */
  #lesson = null;
  #turn = 0;
  #left = new AbortController();

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const { view, card: index, photo, image, summaries, model } = get(), card = CARDS[index];
    if (view !== "course" || !model?.glass) {
      this.#left.abort();
      this.#lesson = null;
      return;
    }
    this.#drawCards();
    if (!photo || photo.image !== image || summaries.length < model.layers.length) {
      this.#lesson = null;
      const { waiting, needsImage } = words.course.controls;
      this.#article.replaceChildren(make("p", {}, image ? waiting : needsImage));
      return;
    }
    if (!this.#lesson || touches(changed, "card", "photo", "model")) {
      this.#left.abort();
      this.#left = new AbortController();
      const middle = Math.round(model.size / 2);
      this.#lesson = {
        model, photo, image, summaries, place: [middle, middle], chosen: null, checked: false,
        signal: this.#left.signal,
        redraw: () => this.#drawStage(card),
      };
      this.#remember(card, this.#progress()[card.name] ?? false);
    }
    this.#drawCard(card, this.#lesson);
    await this.#drawStage(card);
  }

  #drawCards() {
    const { card: open } = get(), progress = this.#progress(), { course } = words;
    this.#cards.setAttribute("aria-label", course.controls.cards);
    this.#cards.replaceChildren(...CARDS.map(({ name }, index) => make("a", {
      href: address(get().layer, "course", index), "aria-current": index === open ? "step" : null,
      "data-done": name in progress ? (progress[name] ? "right" : "seen") : null,
      onclick: event => {
        event.preventDefault();
        patch({ card: index });
      },
    }, make("b", {}, index + 1), " ", course[name].title, progress[name] ? " ✓" : "")));
  }

  /** @param {Card} card @param {Lesson} lesson */
  #drawCard(card, lesson) {
    const { course } = words, text = course[card.name], values = card.values(lesson), index = CARDS.indexOf(card);
    const said = make("p", { class: "verdict", "aria-live": "polite" });
    const go = (/** @type {number} */ to, /** @type {string} */ name) =>
      make("button", { type: "button", disabled: !CARDS[to], onclick: () => patch({ card: to }) }, name);
    this.#article.replaceChildren(
      make("p", { class: "note" }, fill(course.controls.number, {
        chapter: Object.keys(course.chapters).indexOf(card.chapter) + 1, title: course.chapters[card.chapter],
        number: index + 1, count: CARDS.length,
      })),
      make("h2", {}, text.title),
      make("p", { class: "story" }, fill(text.story, values)),
      make("p", { class: "gesture" }, fill(text.gesture, values)),
      make("div", { class: "work" },
        make("div", { class: "stage" }),
        make("div", {}, this.#guessForm(card, lesson, said, fill(text.question, values)), said)),
      make("div", { class: "choices" },
        go(index - 1, course.controls.previous), go(index + 1, course.controls.next), explore(card, lesson),
        ...door(card, lesson)),
      this.#summary(),
    );
  }

  /** @param {Card} card @param {Lesson} lesson @param {HTMLElement} said @param {string} question */
  #guessForm(card, lesson, said, question) {
    const { controls } = words.course, { guess } = card;
    const field = typeof guess === "function"
      ? make("span", { class: "choices" }, ...guess(lesson).map((text, i) =>
        make("label", {}, make("input", { type: "radio", name: "guess", value: i, required: true }), " ", text)))
      : guess === "number"
        ? make("input", { type: "number", name: "guess", step: "any", required: true, "aria-label": controls.guess })
        : make("input", { type: "hidden", name: "guess", value: 0 });
    const form = make("form", { class: "guess" },
      make("fieldset", {}, make("legend", {}, question), field, " ", make("button", {}, controls.check)));
    form.addEventListener("submit", event => {
      event.preventDefault();
      this.#check(card, lesson, Number(new FormData(form).get("guess")), said);
    });
    return form;
  }

  /** @param {Card} card @param {Lesson} lesson @param {number} guess @param {HTMLElement} said */
  async #check(card, lesson, guess, said) {
    said.className = "verdict";
    said.textContent = words.course.controls.waiting;
    const solution = await attempt("course", () => card.solve(lesson));
    if (lesson !== this.#lesson) return;
    if (!solution) {
      said.textContent = "";
      return;
    }
    const { right, values } = solution;
    const { course } = words, isRight = right(guess);
    lesson.checked = true;
    said.className = isRight ? "verdict good" : "verdict bad";
    const truth = fill(course[card.name].truth, { ...card.values(lesson), ...values });
    said.textContent = (isRight ? course.controls.right : course.controls.wrong) + " " + truth;
    this.#remember(card, isRight);
    this.#drawCards();
    await this.#drawStage(card);
  }

  /** @param {Card} card */
  async #drawStage(card) {
    const turn = ++this.#turn, lesson = this.#lesson;
    if (!lesson) return;
    const parts = await attempt("course", () => card.stage(lesson));
    const stage = this.#article.querySelector(".stage");
    if (turn !== this.#turn || !stage || !parts) return;
    const touched = () => [...stage.querySelectorAll("canvas, input, button")];
    const focused = touched().findIndex(each => each === document.activeElement);
    stage.replaceChildren(...parts);
    const again = touched()[focused];
    if (again instanceof HTMLElement) again.focus({ preventScroll: true });
  }

  #summary() {
    const { controls } = words.course, progress = this.#progress(), seen = Object.values(progress);
    const right = seen.filter(Boolean).length;
    const sentence = fill(controls.done, { right, count: CARDS.length, seen: seen.length });
    return make("p", { class: "note" }, sentence, " ", make("button", {
      type: "button",
      onclick: () => {
        localStorage.removeItem(PROGRESS);
        this.#drawCards();
        patch({ card: 0 });
      },
    }, controls.again));
  }

  /** @returns {Record<string, boolean>} */
  #progress() {
    return JSON.parse(localStorage.getItem(PROGRESS) ?? "{}");
  }

  /** @param {Card} card @param {boolean} isRight */
  #remember({ name }, isRight) {
    localStorage.setItem(PROGRESS, JSON.stringify({ ...this.#progress(), [name]: isRight }));
  }
}

/** A link to the layer that a card is about, with the element marked. @param {Card} card @param {Lesson} lesson */
function explore(card, { model }) {
  const layer = card.layer(model);
  return make("a", {
    class: "button", href: address(layer, "explore") + "&mark=" + card.mark,
    onclick: event => {
      event.preventDefault();
      patch(layer === get().layer ? { view: "explore" } : { view: "explore", layer, channel: null, cell: null });
      markElement(card.mark);
    },
  }, words.course.controls.explore);
}

/** A link to the other view in which a card goes on, if the server has it. @param {Card} card @param {Lesson} lesson */
function door({ door: view }, { model }) {
  if (!view || !model.views.includes(view)) return [];
  return [make("a", {
    class: "button", href: address(get().layer, view),
    onclick: event => {
      event.preventDefault();
      patch({ view });
    },
  }, fill(words.course.controls.door, { view: words.views[view] }))];
}

/** Frame an element of the page for some seconds and scroll to it. @param {string} id */
export function markElement(id) {
  const element = document.getElementById(id);
  if (!element) return;
  setTimeout(() => element.scrollIntoView({ block: "center", behavior: "smooth" }), 100);
  element.classList.add("marked");
  setTimeout(() => element.classList.remove("marked"), MARKED);
}

customElements.define("course-view", CourseView);
