// Starting a run, and its commands: pause, go on, one step, stop; and opening the model that came of it.
import { loadModel, putSample } from "./actions.js";
import { byId, PageElement } from "./element.js";
import { Refused } from "./http.js";
import { get, patch } from "./store.js";
import { fill, make } from "./ui.js";
import { closeModel, openModel, sendCommand, startRun } from "./watch-api.js";
import { patchWatch, take } from "./watch-state.js";
import { words } from "./words.js";

/** @typedef {import("./watch-api.js").Experiment} Experiment */

const OPENED = /^(digits|folder)-[0-9]+$/;

class WatchControls extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["watch", "language", "model"];
  #form = this.child("#watchStart", HTMLFormElement);
  #commands = this.child("#watchCommands", HTMLElement);
  #state = this.child("#watchState", HTMLElement);
  #failure = "";
  #drawn = "";
  /** @type {Experiment} */
  #experiment = "plain";
  /** @type {import("./watch-api.js").Data} */
  #data = "digits";

  connectedCallback() {
    super.connectedCallback();
    this.#form.addEventListener("submit", event => {
      event.preventDefault();
      this.#do(async () => {
        const { guesses } = get().watch, status = await startRun(this.#data, this.#experiment);
        await take(status);
        patchWatch({ guesses: { ...(guesses.start ? { start: guesses.start } : {}) } });
      });
    });
  }

  update() {
    const { watch: { status }, language, model } = get(), told = words.watch;
    byId("watch-title", HTMLElement).textContent = told.title;
    byId("watchIntro", HTMLElement).textContent = told.intro;
    byId("watchRecord", HTMLElement).hidden = !status?.points.length;
    const goesOn = status?.state === "running" || status?.state === "paused";
    this.#state.textContent = this.#failure || this.#sentence();
    this.#state.className = this.#failure || status?.state === "failed" ? "warning" : "note";
    // Built anew only when something of it changes, or a button would lose the focus at every step.
    const key = [language, status?.state, status?.folder, status?.model, status?.number, model?.name].join();
    if (key === this.#drawn) return;
    this.#drawn = key;
    this.#form.hidden = goesOn;
    this.#form.replaceChildren(this.#dataChoice(status?.folder ?? null), this.#experimentChoice(),
      make("button", { class: "primary" }, status?.number ? told.again : told.start));
    this.#commands.replaceChildren(...this.#buttons(goesOn));
  }

  /** @param {string | null} folder */
  #dataChoice(folder) {
    const told = words.watch, options = folder
      ? [make("option", { value: "digits" }, told.digits), make("option", { value: "folder" }, folder)]
      : [make("option", { value: "digits" }, told.digits)];
    const select = make("select", { id: "watchData", onchange: () => (this.#data = known(select.value)) }, ...options);
    select.value = this.#data;
    return make("label", {}, told.data, select);
  }

  #experimentChoice() {
    const told = words.watch, names = /** @type {Experiment[]} */ (Object.keys(told.experiments));
    const select = make("select", {
      id: "watchExperiment",
      onchange: () => (this.#experiment = names.find(name => name === select.value) ?? "plain"),
    }, ...names.map(name => make("option", { value: name }, told.experiments[name])));
    select.value = this.#experiment;
    return make("label", {}, told.experiment, select);
  }

  /** @param {boolean} goesOn */
  #buttons(goesOn) {
    const { watch: { status }, model } = get(), told = words.watch;
    const command = (/** @type {import("./watch-api.js").Command} */ name, /** @type {string} */ text) =>
      make("button", { type: "button", id: "watch-" + name, class: name === "go" && "primary",
        onclick: () => this.#do(async () => take(await sendCommand(name))) }, text);
    const rest = [command("step", told.oneStep), command("stop", told.stop)];
    if (goesOn && status) {
      return status.state === "paused"
        ? [command("go", status.done ? told.resume : told.go), ...rest]
        : [command("pause", told.pause), ...rest];
    }
    const buttons = [];
    if (status?.model) {
      const open = () => this.#open(status.number);
      buttons.push(make("button", { type: "button", id: "watchOpen", onclick: open }, told.open));
    }
    if (model && OPENED.test(model.name)) {
      buttons.push(make("button", { type: "button", id: "watchClose", onclick: () => this.#open(null) }, told.close));
    }
    return buttons;
  }

  #sentence() {
    const { status } = get().watch, told = words.watch;
    if (!status || status.state === "none") return "";
    if (!status.points.length && status.state !== "failed") return told.states.starting;
    const why = /** @type {Record<string, string>} */ (told.errors)[status.error] ?? status.error;
    return fill(told.states[status.state], { done: status.done, steps: status.about?.steps ?? 0, error: why });
  }

  /** Explore a run's model, or with null the one that the server began with. @param {number | null} run */
  async #open(run) {
    await this.#do(async () => {
      await (run === null ? closeModel() : openModel(run));
      await loadModel();
      const { model } = get();
      if (!model?.glass) return;
      patch({ view: "explore", layer: "conv1_1", channel: null, cell: null, maps: null, step: null });
      await putSample(model.samples[0]);
    });
  }

  /** A refusal is said here, where it happened. @param {() => Promise<void>} work */
  async #do(work) {
    this.#failure = "";
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.#failure = error.message;
    }
    this.update();
  }
}

/** @param {string} value */
const known = value => (value === "folder" ? "folder" : "digits");

customElements.define("watch-controls", WatchControls);
