// The open layer's properties, and its statistics on this image.
import { byId, PageElement } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { number, percent, sides, words } from "./words.js";

const LISTED = 40; // maximum dead channels listed

class LayerSummary extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "layer", "language", "maps"];

  update() {
    const { model, layer: name, maps } = get();
    const layer = model?.glass ? model.layers.find(each => each.name === name) : null;
    if (!layer) return;
    this.child("#layer-title", HTMLElement).textContent = name + " · " + words.kinds[layer.kind];
    byId("explanation", HTMLElement).textContent = words.explanations[layer.kind];
    if (maps) byId("layerFigures", HTMLElement).textContent = figures(maps).join(" · ");
  }
}

/** @param {import("./store.js").Maps} maps */
function figures({ layer, figures: { minimum, mean, maximum, zeros } }) {
  const { kind, shape, parameters, kernel, stride, padding, receptive_field: field, jump } = layer;
  const parts = [fill(words.shape, { shape: sides(shape) })];
  if (parameters) parts.push(fill(words.parameters, { count: parameters.toLocaleString("en") }));
  if (["conv", "maxpool", "avgpool"].includes(kind)) {
    parts.push(fill(words.geometry, { height: kernel, width: kernel, stride, padding }));
  }
  parts.push(fill(words.range, { min: number(minimum), mean: number(mean), max: number(maximum) }));
  if (kind === "relu") parts.push(fill(words.zeros, { share: percent(zeros) }));
  if (jump) parts.push(fill(words.field, { height: field, width: field, jump }));
  return parts;
}

/** @param {readonly number[] | null} channels zero everywhere */
export function deadSentence(channels) {
  if (!channels?.length) return "";
  const rest = channels.length > LISTED ? " …" : "";
  return fill(words.dead, { count: channels.length, channels: channels.slice(0, LISTED).join(", ") + rest });
}

customElements.define("layer-summary", LayerSummary);
