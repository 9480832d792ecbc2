// Page start-up: texts, model, state from the URL, and the first image.
import { loadModel, putImage, putNamed, putSample, restoreImage } from "./actions.js";
import { followAddress, readAddress } from "./address.js";
import "./answer-bars.js";
import "./channel-map.js";
import "./channel-preference.js";
import "./class-attribution.js";
import "./class-map.js";
import { markElement } from "./course-view.js";
import "./depth-sum.js";
import { byId } from "./element.js";
import { attempt, explained, tell } from "./failures.js";
import "./failure-note.js";
import "./feature-grid.js";
import "./field-crop.js";
import { Refused, setRecovery } from "./http.js";
import "./input-map.js";
import "./layer-strip.js";
import "./layer-summary.js";
import "./model-card.js";
import "./nearest-known.js";
import "./number-formula.js";
import "./operation-playground.js";
import "./operation-view.js";
import "./overlay-choice.js";
import "./page-header.js";
import "./parent-map.js";
import "./phone-bar.js";
import "./photo-input.js";
import "./photo-view.js";
import "./progress-note.js";
import "./receptive-field.js";
import "./removed-channels.js";
import "./sliding-classifier.js";
import "./step-arithmetic.js";
import "./superposition-view.js";
import { get, patch, subscribe, touches } from "./store.js";
import "./teach-view.js";
import { TokenForm } from "./token-form.js";
import { fill } from "./ui.js";
import "./unit-switch.js";
import "./view-tabs.js";
import "./watch-confusion.js";
import "./watch-controls.js";
import "./watch-curves.js";
import "./watch-guess.js";
import "./watch-images.js";
import "./watch-kernels.js";
import "./watch-playhead.js";
import { followTraining } from "./watch-state.js";
import "./watch-story.js";
import "./watch-weight.js";
import "./window-pictures.js";
import { loadWords, preferredLanguage, setLanguage, words } from "./words.js";

/** Views that show a photograph in the network. @type {readonly import("./store.js").View[]} */
const OF_A_PHOTOGRAPH = ["explore", "course"];

function followProblem() {
  const alert = byId("problem", HTMLElement);
  subscribe(changed => {
    if (!touches(changed, "problem", "failures", "language")) return;
    const { problem, failures: { page } } = get();
    alert.textContent = problem || (page ? explained(page) : "");
    alert.hidden = !alert.textContent;
  });
  addEventListener("unhandledrejection", event => {
    if (!(event.reason instanceof Refused)) return;
    event.preventDefault();
    if (event.reason.type !== "replaced") tell("page", event.reason);
  });
}

function followColourScheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => patch({ colourScheme: dark.matches ? "dark" : "light" });
  dark.addEventListener("change", follow);
  follow();
}

/** The skip link moves the focus and leaves the address as it is. */
function followSkip() {
  byId("skip", HTMLElement).addEventListener("click", event => {
    event.preventDefault();
    byId("opened", HTMLElement).focus();
  });
}

/** Set up a page with predictions only, if the server can't show layers. @param {string} missing */
function hideGlass(missing) {
  patch({ problem: fill(missing === "graph" ? words.noGlassGraph : words.noGlassPackage, { package: missing }) });
  for (const part of document.querySelectorAll(".layers")) {
    if (part instanceof HTMLElement) part.hidden = true;
  }
}

async function start() {
  followProblem();
  followColourScheme();
  followSkip();
  await loadWords();
  setLanguage(preferredLanguage());
  setRecovery(restoreImage, () => byId("token", TokenForm).ask());
  await attempt("page", loadModel);
  const { model, body } = get();
  if (!model) return;
  if (!model.glass) {
    patch({ view: readAddress().view });
    hideGlass(model.missing);
    if (body) await putImage(body);
    return;
  }
  const { view, card, mark, name, language, layer, channel, cell } = readAddress();
  if (language) setLanguage(language);
  patch({ view, card, layer, channel, cell });
  followAddress();
  followTraining();
  const open = async () => {
    if (body) return putImage(body);
    if (!name || !(await putNamed(name, { channel, cell }))) await putSample(model.samples[0], { channel, cell });
    if (mark) markElement(mark);
  };
  if (OF_A_PHOTOGRAPH.includes(view)) return open();
  const opened = subscribe(changed => { // nothing is computed for a view that is closed
    if (!changed.has("view") || !OF_A_PHOTOGRAPH.includes(get().view)) return;
    opened();
    if (!get().body) open();
  });
}

start();
