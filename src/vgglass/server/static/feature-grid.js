// A grid of a layer's maps: sortable, with a choice of colour scales, each map selectable.
import { chooseCell, pointAt } from "./actions.js";
import {
  fetchEffects, fetchImportance, fetchLayer, fetchLimit, fetchMaps, fetchParentLayer, fetchParentMaps,
} from "./api.js";
import { bitmap, coloured, drawLegend } from "./colours.js";
import { byId, colour, PageElement, sized } from "./element.js";
import { attempt } from "./failures.js";
import { deadSentence } from "./layer-summary.js";
import { get, patch, touches } from "./store.js";
import { ProgressNote } from "./progress-note.js";
import { arranged, mark, pitch, sharesOf } from "./tiles.js";
import { fill, make } from "./ui.js";
import { joined, number, percent, words } from "./words.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {import("./store.js").Maps} Maps */
/** @typedef {import("./tiles.js").Layout} Layout */
/** @typedef {keyof typeof words.colours} Colour */

const SETTLED = 150; // milliseconds to debounce window resizing

class FeatureGrid extends PageElement {
  /** @type {(keyof State)[]} */
  watched = [
    "photo", "summaries", "layer", "maps", "channel", "ablated", "order", "scale", "language", "colourScheme",
    "target", "importance", "view",
  ];
  #canvas = this.child("#grid", HTMLCanvasElement);
  #text = this.child("#gridSaid", HTMLElement);
  #tools = this.child("#gridTools", HTMLElement);
  /** The effect of ablating each channel, undefined until received.
   * @type {(import("./api.js").Effect | undefined)[] | null} */
  #effects = null;
  #progress = this.child("progress-note", ProgressNote);
  #request = new AbortController();
  #effectsRequest = new AbortController();
  #waits = false;
  /** @type {Layout} */
  #layout = { zoom: 1, gap: 0, caption: 0, columns: 1, beside: 0 };
  /** Channels in the order of their tiles. @type {readonly number[]} */
  #channels = [];

  connectedCallback() {
    super.connectedCallback();
    this.#canvas.addEventListener("pointermove", event => {
      this.#at(event, (channel, cell) => this.#point(channel, cell));
    });
    this.#canvas.addEventListener("click", event => this.#at(event, chooseCell));
    this.#canvas.addEventListener("keydown", event => this.#move(event));
    new ResizeObserver(() => this.#reveal()).observe(this.child(".scroller", HTMLElement));
    let timer = 0;
    addEventListener("resize", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#draw(), SETTLED);
    });
  }

  /** Nobody looks: effects that are not complete are asked for again when the view is opened. */
  closed() {
    this.#effectsRequest.abort();
    this.#progress.end();
    if (this.#effects?.includes(undefined)) this.#effects = null;
  }

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    const drawn = /** @type {const} */ (["maps", "channel", "ablated", "order", "scale", "language", "colourScheme"]);
    if (touches(changed, ...drawn, "importance")) this.#draw();
    if (touches(changed, "photo", "target")) this.#loadImportance();
    if (touches(changed, "maps", "language", "order")) this.#drawTools();
    const { scale, maps, order } = get();
    if (changed.has("channel") || changed.has("maps")) this.#reveal();
    if (touches(changed, "photo", "layer") || (changed.has("summaries") && this.#waits)) await this.#load();
    else if (changed.has("scale") && scale === "network" && maps && maps.limit === null) await this.#loadLimit(maps);
    else if (order !== "effect") this.closed();
    else if (touches(changed, "order", "view") && !this.#effects) await this.#loadEffects();
  }

  async #load() {
    this.#request.abort();
    const request = (this.#request = new AbortController());
    this.closed();
    this.#effects = null;
    const { model, image, photo, layer: open, order, scale, summaries } = get();
    const layers = model?.glass ? model.layers : [], layer = layers.find(each => each.name === open);
    if (!layer || !image || photo?.image !== image) return;
    this.#waits = !summaries.some(each => each.name === open); // until the server has computed it
    if (this.#waits) return;
    const lost = order === "effect" || (order === "importance" && !hasImportance(layer, layers));
    patch({ order: lost ? "channel" : order });
    const { name, parent: kin } = layer, { signal: left } = request;
    const found = await attempt("grid", () => Promise.all([
      fetchLayer(image, name, left), fetchMaps(image, name, { signal: left }),
      scale === "network" ? fetchLimit(image) : null,
      kin && fetchParentLayer(image, kin.layer), kin && fetchParentMaps(image, kin.layer),
    ]));
    if (!found || left.aborted || image !== get().image) return;
    const [figures, values, whole, theirs, theirMaps] = found;
    const parent = kin && theirs && theirMaps && { kin, figures: theirs, values: theirMaps };
    const [width, height, channels] = layer.shape, limit = whole && whole.limit, signed = figures.minimum < 0;
    patch({ maps: { image, layer, name, figures, values, width, height, channels, signed, limit, parent } });
    chooseCell(get().channel ?? figures.strongest, get().cell);
  }

  /** Scroll to the chosen map, should it be out of sight. */
  #reveal() {
    const { maps, channel } = get(), box = this.#canvas.parentElement;
    if (!maps || channel === null || !box) return;
    const [, down] = pitch(this.#layout, maps), room = box.clientHeight;
    const top = Math.floor(this.#channels.indexOf(channel) / this.#layout.columns) * down;
    if (top < box.scrollTop || top + down > box.scrollTop + room) box.scrollTop = top - (room - down) / 2;
  }

  /** @param {Maps} maps */
  async #loadLimit(maps) {
    const found = await attempt("grid", () => fetchLimit(maps.image));
    if (found && maps === get().maps) patch({ maps: { ...maps, limit: found.limit } });
  }

  /** Fetch the effect of ablating each channel, and sort the tiles as results arrive. */
  async #loadEffects() {
    const { image, layer, maps } = get(), { signal } = (this.#effectsRequest = new AbortController());
    if (!image || !maps) return;
    /** @type {(import("./api.js").Effect | undefined)[]} */
    const effects = (this.#effects = new Array(maps.channels).fill(undefined));
    let known = 0;
    this.#progress.begin(() => patch({ order: "channel" }));
    await attempt("grid", async () => {
      for await (const batch of fetchEffects(image, layer, signal)) {
        if (this.#effects !== effects) return;
        for (const effect of batch) effects[effect.channel] = effect;
        known += batch.length;
        const text = known < maps.channels ? words.silencing : words.silencedAll;
        this.#text.textContent = fill(text, { done: known, channels: maps.channels });
        this.#progress.at(known, maps.channels);
        this.#draw();
      }
    });
    if (!signal.aborted) this.#progress.end();
  }

  async #loadImportance() {
    const { image, photo, target } = get();
    if (!image || photo?.image !== image) return;
    patch({ importance: null });
    const importance = await attempt("grid", () => fetchImportance(image, target));
    if (importance && image === get().image && target === get().target) patch({ importance });
  }

  /** Channels without a known effect come last. @param {Maps} maps */
  #sorted(maps) {
    const { channels, figures } = maps, { order } = get(), effects = this.#effects, shares = sharesOf(maps.layer);
    if (order === "activation") return figures.by_activation;
    const all = Array.from({ length: channels }, (_, channel) => channel);
    if (order === "importance" && shares) return all.sort((one, other) => shares[other] - shares[one] || one - other);
    if (order !== "effect" || !effects) return all;
    const size = (/** @type {number} */ channel) => Math.abs(effects[channel]?.move ?? 0);
    return all.sort((one, other) => size(other) - size(one) || one - other);
  }

  #draw() {
    const { maps, ablated, channel: chosen, scale, order, model } = get();
    if (!maps) return;
    const { figures, values, width, height, signed, name, limit, parent } = maps, area = width * height;
    const available = this.#canvas.parentElement?.clientWidth ?? 0;
    const layout = (this.#layout = arranged(maps, maps.channels, available, parent !== null));
    const channels = (this.#channels = this.#sorted(maps)), { zoom, caption, columns } = layout;
    const [across, down] = pitch(layout, maps);
    const context = sized(this.#canvas, columns * across, Math.ceil(channels.length / columns) * down);
    const ink = colour("ink"), faint = colour("orange");
    const shared = (scale === "network" && limit) || Math.max(...figures.ends), own = scale === "map" && width > 1;
    const dead = new Set(figures.dead), shares = sharesOf(maps.layer), most = Math.max(...(shares ?? [])) || 1;
    context.imageSmoothingEnabled = zoom < 1;
    context.font = "11px system-ui, sans-serif";
    for (const [i, channel] of channels.entries()) {
      const left = (i % columns) * across, top = Math.floor(i / columns) * down + caption;
      const colours = coloured(values, channel * area, area, own ? figures.ends[channel] : shared, signed);
      context.drawImage(bitmap(colours, width, height), left, top, width * zoom, height * zoom);
      if (caption) {
        context.fillStyle = dead.has(channel) ? faint : ink;
        const letter = name === "image" && model?.glass ? model.input.order[channel] : "";
        const hue = letter ? " " + words.colours[/** @type {Colour} */ (letter)] : "";
        const label = ["fc8", "prob"].includes(name) && model?.glass ? " " + model.classes[channel] : hue;
        context.fillText(channel + label + (dead.has(channel) ? " ✕" : ""), left, top - 7, width * zoom);
        if (shares) mark(context, left, top, (shares[channel] / most) * width * zoom);
      }
      if (parent) {
        const right = left + layout.beside, there = parent.kin.kept[channel];
        const end = own ? parent.figures.ends[there] : shared;
        const theirs = coloured(parent.values, there * area, area, end, signed);
        context.drawImage(bitmap(theirs, width, height), right, top, width * zoom, height * zoom);
        context.fillStyle = ink;
        if (caption) context.fillText(String(there), right, top - 7, width * zoom);
      }
      if (ablated.has(maps.layer.name + ":" + channel)) cross(context, left, top, width * zoom, height * zoom);
      if (channel === chosen) outline(context, left, top, width * zoom, height * zoom);
    }
    this.#canvas.setAttribute("aria-label", fill(words.gridLabel, { layer: name, maps: channels.length }));
    this.#canvas.dataset.layer = name;
    const end = own ? "a" : number(shared), ends = signed ? ["−" + end, "0", end] : ["0", "", end];
    drawLegend(this.child("#legend", HTMLCanvasElement), ends, signed);
    this.child("#gridLegend", HTMLElement).textContent =
      joined(words.scales[own || width > 1 ? scale : "layer"], words.orders[order], ...this.#marksSaid(maps));
    byId("dead", HTMLElement).textContent = deadSentence(figures.dead);
  }

  /** What the bars are, and the maps beside. @param {Maps} maps */
  #marksSaid({ layer, parent }) {
    const { importance } = get(), marked = importance && sharesOf(layer);
    const bars = marked ? fill(this.#layout.caption ? words.bars : words.barless, { class: importance.class }) : "";
    return [this.#layout.caption ? words.captions : "", bars, parent ? words.pairs : ""];
  }

  /** The controls above the grid. */
  #drawTools() {
    const { maps, order, scale, layer, model } = get();
    if (!maps || !model?.glass) return;
    /** @type {State["order"][]} */
    const orders = ["channel", "activation"];
    if (hasImportance(maps.layer, model.layers)) orders.push("importance");
    if (layer !== "image" && layer !== "prob") orders.push("effect");
    /** @type {State["scale"][]} */
    const scales = ["map", "layer", "network"];
    const vector = maps.width === 1; // a vector's numbers have no maximum of their own
    const parts = [
      selection("order", order, orders, words.order, words.orders, name => patch({ order: name })),
      selection("scale", scale, scales.slice(vector ? 1 : 0), words.scale, words.scales, name =>
        patch({ scale: name })),
    ];
    const focused = document.activeElement?.id;
    this.#tools.setAttribute("aria-label", words.gridTools);
    this.#tools.replaceChildren(...parts);
    for (const tool of this.#tools.querySelectorAll("select, button")) {
      if (tool instanceof HTMLElement && tool.id === focused) tool.focus();
    }
  }

  /** The map and the cell under the pointer. @param {MouseEvent} event
   * @param {(channel: number, cell: import("./store.js").Cell) => void} use */
  #at(event, use) {
    const { maps } = get(), { zoom, caption, columns, beside } = this.#layout;
    if (!maps) return;
    const { left: edge, top: upper } = this.#canvas.getBoundingClientRect();
    const x = event.clientX - edge, y = event.clientY - upper;
    const [across, down] = pitch(this.#layout, maps);
    const i = Math.floor(y / down) * columns + Math.floor(x / across);
    const left = maps.parent && x % across >= beside ? beside : 0; // the parent's map is beside
    const column = Math.floor(((x % across) - left) / zoom), row = Math.floor(((y % down) - caption) / zoom);
    if (i < this.#channels.length && column < maps.width && row >= 0 && row < maps.height) {
      use(this.#channels[i], [row, column]);
    }
  }

  /** @param {number} channel @param {import("./store.js").Cell} cell */
  #point(channel, cell) {
    const { maps, model } = get();
    if (!maps || !model?.glass) return;
    const { figures, width, height, name, layer, values } = maps, effect = this.#effects?.[channel];
    const parts = [fill(words.channel, { channel })], value = values[(channel * height + cell[0]) * width + cell[1]];
    if (["fc8", "prob"].includes(name)) parts.push(model.classes[channel]);
    parts.push(fill(words.value, { row: cell[0], column: cell[1], value: number(value) }));
    if (width > 1) {
      const [min, mean, max] = [figures.minima, figures.means, figures.maxima].map(each => number(each[channel]));
      parts.push(fill(words.range, { min, mean, max }));
      if (layer.kind === "relu") parts.push(fill(words.zeros, { share: percent(figures.zeros_each[channel]) }));
    }
    const share = sharesOf(layer)?.[channel];
    if (share !== undefined) parts.push(fill(words.importance, { share: percent(share) }));
    if (maps.parent) {
      const { kin, values: theirs } = maps.parent, there = kin.kept[channel];
      const beside = number(theirs[(there * height + cell[0]) * width + cell[1]]);
      parts.push(fill(words.parentValue, { layer: kin.layer, channel: there, value: beside }));
    }
    if (effect) parts.push(fill(words.effect, { move: number(effect.move), answer: model.classes[effect.winner] }));
    this.#text.textContent = parts.join(" · ");
    pointAt(cell);
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const { columns } = this.#layout, channels = this.#channels, { channel: chosen } = get();
    const steps = new Map([
      ["ArrowRight", 1], ["ArrowLeft", -1], ["ArrowDown", columns], ["ArrowUp", -columns], ["Enter", 0],
    ]);
    const step = steps.get(event.key);
    if (step === undefined || !channels.length) return;
    event.preventDefault();
    const current = Math.max(0, chosen === null ? 0 : channels.indexOf(chosen));
    const channel = channels[Math.min(channels.length - 1, Math.max(0, current + step))];
    if (event.key === "Enter") byId("map", HTMLElement).focus();
    chooseCell(channel);
    const { cell } = get();
    if (cell) this.#point(channel, cell);
  }
}

/** Whether the layer's channels reach a ReLU, where importance is measured.
 * @param {import("./api.js").Layer} layer @param {readonly import("./api.js").Layer[]} layers */
const hasImportance = ({ origin }, layers) => layers.some(each => each.kind === "relu" && each.origin === origin);

/** @template {string} T @param {string} id @param {T} value @param {readonly T[]} values @param {string} label
 * @param {Record<T, string>} sentences of which the first one is the name @param {(value: T) => void} change */
function selection(id, value, values, label, sentences, change) {
  const options = values.map(each =>
    make("option", { value: each, selected: each === value }, sentences[each].split(/[.。:：]/)[0]));
  const select = make("select", { id: "by-" + id }, ...options);
  select.addEventListener("change", () => change(values[select.selectedIndex]));
  return make("label", {}, label + " ", select);
}

/** @param {CanvasRenderingContext2D} context
 * @param {number} left @param {number} top @param {number} width @param {number} height */
function outline(context, left, top, width, height) {
  context.lineWidth = 3;
  context.strokeStyle = "#ffd400";
  context.strokeRect(left + 1, top + 1, width - 2, height - 2);
}

/** @param {CanvasRenderingContext2D} context
 * @param {number} left @param {number} top @param {number} width @param {number} height */
function cross(context, left, top, width, height) {
  context.lineWidth = 2;
  context.strokeStyle = "#d9730d";
  context.beginPath();
  context.moveTo(left, top);
  context.lineTo(left + width, top + height);
  context.moveTo(left + width, top);
  context.lineTo(left, top + height);
  context.stroke();
}

customElements.define("feature-grid", FeatureGrid);
