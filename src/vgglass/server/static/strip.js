// The network as a strip of blocks, from the image to the softmax.
import { heat } from "./colours.js";
import { all, at, fill, make, percent, say, sides } from "./words.js";

const KINDS = { image: "#888", conv: "#1a5fd0", batchnorm: "#0e8a8a", relu: "#d9730d", lrn: "#0e8a8a", maxpool: "#7a3fc2", avgpool: "#a0378c", linear: "#14713d", dropout: "#888", softmax: "#b3261e" };

/** @param {any} model @param {(layer: string) => string} link of a layer @param {(layer: string) => void} open */
export function drawStrip(model, link, open) {
  at("strip").replaceChildren(...model.layers.map(layer => {
    const block = make("canvas", { width: 56, height: 56, "aria-hidden": "true" });
    const item = make("a", { href: link(layer.name), "data-layer": layer.name, onclick: event => { event.preventDefault(); open(layer.name); } },
      block, make("span", {}, layer.name), make("small", {}, sides(layer.shape)));
    item.style.setProperty("--kind", KINDS[layer.kind]);
    item.title = say.kinds[layer.kind];
    return item;
  }));
}

/** Each layer's strongest map. @param {any[]} layers as GET …/layers tells them */
export function showThumbnails(layers) {
  for (const layer of layers) {
    const item = block(layer.name), canvas = item.querySelector("canvas"), context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(heat(layer.thumbnail), 0, 0, 56, 56);
    item.title += " · " + fill(say.strongest, layer.strongest) + (layer.dead ? " · " + fill(say.zeros, percent(layer.zeros)) : "");
  }
}

/** @param {string} name of the layer that is open */
export function markOpen(name) {
  for (const item of all("#strip a")) item.setAttribute("aria-current", String(item.dataset.layer === name));
}

/** @param {string} name @returns {any} */
const block = name => document.querySelector(`#strip a[data-layer="${name}"]`);
