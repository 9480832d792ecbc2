// Page start-up: texts, model, state from the URL, and the first image.
import { loadModel, putImage, putSample, restoreImage } from "./actions.js";
import { followAddress, readAddress } from "./address.js";
import "./answer-bars.js";
import "./channel-map.js";
import "./class-attribution.js";
import "./class-map.js";
import { markElement } from "./course-view.js";
import { byId } from "./element.js";
import "./feature-grid.js";
import { Refused, setRecovery } from "./http.js";
import "./input-map.js";
import "./layer-strip.js";
import "./layer-summary.js";
import "./operation-playground.js";
import "./page-header.js";
import "./parent-map.js";
import "./photo-input.js";
import "./photo-view.js";
import "./receptive-field.js";
import "./removed-channels.js";
import "./sliding-classifier.js";
import "./step-arithmetic.js";
import { get, patch, subscribe } from "./store.js";
import { TokenForm } from "./token-form.js";
import { fill } from "./ui.js";
import "./view-tabs.js";
import { loadWords, preferredLanguage, setLanguage, words } from "./words.js";

function followProblem() {
  const alert = byId("problem", HTMLElement);
  subscribe(changed => {
    if (!changed.has("problem")) return;
    alert.hidden = !get().problem;
    alert.textContent = get().problem;
  });
  addEventListener("unhandledrejection", event => {
    if (!(event.reason instanceof Refused)) return;
    event.preventDefault();
    if (event.reason.type !== "replaced") patch({ problem: event.reason.message });
  });
}

function followColourScheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => patch({ colourScheme: dark.matches ? "dark" : "light" });
  dark.addEventListener("change", follow);
  follow();
}

/** Set up a page with predictions only, if the server can't show layers. @param {string} missing */
function hideGlass(missing) {
  patch({ problem: fill(missing === "graph" ? words.noGlassGraph : words.noGlassPackage, { package: missing }) });
  for (const part of document.querySelectorAll("#explore > section:not(#image), #glass")) {
    if (part instanceof HTMLElement) part.hidden = true;
  }
}

async function start() {
  followProblem();
  followColourScheme();
  await loadWords();
  setLanguage(preferredLanguage());
  setRecovery(restoreImage, () => byId("token", TokenForm).ask());
  await loadModel();
  const { model, body } = get();
  if (!model?.glass) {
    hideGlass(model?.missing ?? "");
    if (body) await putImage(body);
    return;
  }
  const { view, card, mark, sample, language, layer, channel, cell } = readAddress();
  if (language) setLanguage(language);
  patch({ view, card, layer, channel, cell });
  followAddress();
  if (body) return putImage(body);
  await putSample(sample && model.samples.includes(sample) ? sample : model.samples[0], { channel, cell });
  if (mark) markElement(mark);
}

start();
