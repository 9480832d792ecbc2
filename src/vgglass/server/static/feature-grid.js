// A grid of a layer's maps: sortable, with a choice of colour scales, each map selectable.
import { chooseCell, pointAt } from "./actions.js";
import { fetchEffects, fetchLayer, fetchLimit, fetchMaps } from "./api.js";
import { bitmap, coloured, drawLegend } from "./colours.js";
import { byId, context2d, PageElement } from "./element.js";
import { deadSentence } from "./layer-summary.js";
import { get, patch, touches } from "./store.js";
import { fill, make } from "./ui.js";
import { joined, number, percent, words } from "./words.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {import("./store.js").Maps} Maps */
/** Tile layout. @typedef {{zoom: number, gap: number, caption: number, columns: number}} Layout */

const GAP = 4, CAPTION = 13, SMALLEST = 40, CELL = 12, LARGE_CELL = 30; // pixels
const SETTLED = 150; // milliseconds to debounce window resizing

class FeatureGrid extends PageElement {
  /** @type {(keyof State)[]} */
  watched = [
    "photo", "layer", "beforeRelu", "maps", "channel", "ablated", "order", "scale", "language", "colourScheme",
  ];
  #canvas = this.child("#grid", HTMLCanvasElement);
  #text = this.child("#gridSaid", HTMLElement);
  #tools = this.child("#gridTools", HTMLElement);
  /** The effect of ablating each channel, undefined until received.
   * @type {(import("./api.js").Effect | undefined)[] | null} */
  #effects = null;
  #request = new AbortController();
  /** @type {Layout} */
  #layout = { zoom: 1, gap: 0, caption: 0, columns: 1 };
  /** Channels in the order of their tiles. @type {readonly number[]} */
  #channels = [];

  connectedCallback() {
    super.connectedCallback();
    this.#canvas.addEventListener("pointermove", event => {
      this.#at(event, (channel, cell) => this.#point(channel, cell));
    });
    this.#canvas.addEventListener("click", event => this.#at(event, chooseCell));
    this.#canvas.addEventListener("keydown", event => this.#move(event));
    let timer = 0;
    addEventListener("resize", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#draw(), SETTLED);
    });
  }

  /** @param {import("./store.js").Changed} changed */
  async update(changed) {
    if (touches(changed, "maps", "channel", "ablated", "order", "scale", "language", "colourScheme")) this.#draw();
    if (touches(changed, "maps", "language")) this.#drawTools();
    const { scale, maps, order } = get();
    if (touches(changed, "photo", "layer", "beforeRelu")) await this.#load();
    else if (changed.has("scale") && scale === "network" && maps && maps.limit === null) await this.#loadLimit(maps);
    else if (changed.has("order") && order === "effect" && !this.#effects) await this.#loadEffects();
  }

  async #load() {
    this.#request.abort();
    const request = (this.#request = new AbortController());
    this.#effects = null;
    const { model, image, photo, layer: open, order, scale } = get();
    const layers = model?.glass ? model.layers : [], layer = layers.find(each => each.name === open);
    if (!layer || !image || photo?.image !== image) return;
    const beforeRelu = get().beforeRelu && layer.kind === "relu";
    patch({ beforeRelu, order: order === "effect" ? "channel" : order });
    const name = beforeRelu ? layers[layers.indexOf(layer) - 1].name : layer.name;
    const [figures, values, whole] = await Promise.all([
      fetchLayer(image, name), fetchMaps(image, name), scale === "network" ? fetchLimit(image) : null,
    ]);
    if (request.signal.aborted || image !== get().image) return;
    const [width, height, channels] = layer.shape, limit = whole && whole.limit, signed = figures.minimum < 0;
    patch({ maps: { image, layer, name, figures, values, width, height, channels, signed, limit } });
    chooseCell(get().channel ?? figures.strongest, get().cell);
  }

  /** @param {Maps} maps */
  async #loadLimit(maps) {
    const { limit } = await fetchLimit(maps.image);
    if (maps === get().maps) patch({ maps: { ...maps, limit } });
  }

  /** Fetch the effect of ablating each channel, and sort the tiles as results arrive. */
  async #loadEffects() {
    const { image, layer, maps } = get(), { signal } = this.#request;
    if (!image || !maps) return;
    /** @type {(import("./api.js").Effect | undefined)[]} */
    const effects = (this.#effects = new Array(maps.channels));
    let known = 0;
    try {
      for await (const batch of fetchEffects(image, layer, signal)) {
        if (this.#effects !== effects) return;
        for (const effect of batch) effects[effect.channel] = effect;
        known += batch.length;
        this.#text.textContent = fill(words.silencing, { done: known, channels: maps.channels });
        if (get().order === "effect") this.#draw();
      }
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) throw error;
    }
  }

  /** Channels without a known effect come last. @param {Maps} maps */
  #sorted({ channels, figures }) {
    const { order } = get(), effects = this.#effects;
    if (order === "activation") return figures.by_activation;
    const all = Array.from({ length: channels }, (_, channel) => channel);
    if (order !== "effect" || !effects) return all;
    const size = (/** @type {number} */ channel) => Math.abs(effects[channel]?.move ?? 0);
    return all.sort((one, other) => size(other) - size(one) || one - other);
  }

  #draw() {
    const { maps, ablated, channel: chosen, scale, order } = get();
    if (!maps) return;
    const { figures, values, width, height, signed, name, limit } = maps, area = width * height;
    const layout = (this.#layout = arranged(maps, this.#canvas.parentElement?.clientWidth ?? 0));
    const channels = (this.#channels = this.#sorted(maps)), { zoom, caption, columns } = layout;
    const [across, down] = pitch(layout, maps);
    this.#canvas.width = columns * across;
    this.#canvas.height = Math.ceil(channels.length / columns) * down;
    const context = context2d(this.#canvas), ink = getComputedStyle(this.#canvas).color;
    const shared = (scale === "network" && limit) || Math.max(...figures.ends), own = scale === "map" && width > 1;
    const dead = new Set(figures.dead);
    context.imageSmoothingEnabled = false;
    context.font = "11px system-ui, sans-serif";
    for (const [i, channel] of channels.entries()) {
      const left = (i % columns) * across, top = Math.floor(i / columns) * down + caption;
      const colours = coloured(values, channel * area, area, own ? figures.ends[channel] : shared, signed);
      context.drawImage(bitmap(colours, width, height), left, top, width * zoom, height * zoom);
      if (caption) {
        context.fillStyle = dead.has(channel) ? "#d9730d" : ink;
        context.fillText(channel + (dead.has(channel) ? " ✕" : ""), left, top - 3, width * zoom);
      }
      if (ablated.has(maps.layer.name + ":" + channel)) cross(context, left, top, width * zoom, height * zoom);
      if (channel === chosen) outline(context, left, top, width * zoom, height * zoom);
    }
    this.#canvas.setAttribute("aria-label", fill(words.gridLabel, { layer: name, maps: channels.length }));
    this.#canvas.dataset.layer = name;
    const end = own ? "a" : number(shared), ends = signed ? ["−" + end, "0", end] : ["0", "", end];
    drawLegend(this.child("#legend", HTMLCanvasElement), ends, signed);
    this.child("#gridLegend", HTMLElement).textContent =
      joined(words.scales[own || width > 1 ? scale : "layer"], words.orders[order]);
    this.child("#dead", HTMLElement).textContent = deadSentence(figures.dead);
  }

  /** The controls above the grid. */
  #drawTools() {
    const { maps, order, scale, beforeRelu, layer } = get();
    if (!maps) return;
    /** @type {State["order"][]} */
    const orders = ["channel", "activation"];
    if (layer !== "image" && layer !== "prob") orders.push("effect");
    const parts = [
      selection("order", order, orders, words.order, words.orders, name => patch({ order: name })),
      selection("scale", scale, ["map", "layer", "network"], words.scale, words.scales, name => patch({ scale: name })),
    ];
    const focused = document.activeElement?.id;
    this.#tools.replaceChildren(...parts);
    if (maps.layer.kind === "relu") {
      this.#tools.append(make("button", {
        type: "button", id: "beforeRelu", "aria-pressed": String(beforeRelu),
        onclick: () => patch({ beforeRelu: !get().beforeRelu }),
      }, words.beforeRelu));
    }
    for (const tool of this.#tools.querySelectorAll("select, button")) {
      if (tool instanceof HTMLElement && tool.id === focused) tool.focus();
    }
  }

  /** The map and the cell under the pointer. @param {MouseEvent} event
   * @param {(channel: number, cell: import("./store.js").Cell) => void} use */
  #at(event, use) {
    const { maps } = get(), { zoom, caption, columns } = this.#layout;
    if (!maps) return;
    const frame = this.#canvas.getBoundingClientRect(), stretch = this.#canvas.width / frame.width;
    const x = (event.clientX - frame.left) * stretch, y = (event.clientY - frame.top) * stretch;
    const [across, down] = pitch(this.#layout, maps);
    const i = Math.floor(y / down) * columns + Math.floor(x / across);
    const column = Math.floor((x % across) / zoom), row = Math.floor(((y % down) - caption) / zoom);
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

/** 1x1 maps as bare cells; others at least SMALLEST pixels wide, with a caption.
 * @param {Maps} maps @param {number} available pixels of width @returns {Layout} */
function arranged({ width, channels }, available) {
  const room = Math.max(240, available - 4);
  if (width === 1) {
    const fitting = Math.floor(Math.sqrt((room * LARGE_CELL * 8) / channels));
    const zoom = Math.max(CELL, Math.min(LARGE_CELL, fitting));
    return { zoom, gap: 1, caption: 0, columns: Math.min(channels, Math.floor(room / (zoom + 1))) };
  }
  const few = channels < 9 ? Math.floor(Math.min(220, room / 3) / width) : 0;
  const zoom = Math.max(1, Math.ceil(SMALLEST / width), few);
  const columns = Math.min(channels, Math.max(3, Math.floor(room / (width * zoom + GAP))));
  return { zoom, gap: GAP, caption: CAPTION, columns };
}

/** Distance between tiles, horizontal and vertical. @param {Layout} layout @param {Maps} maps */
function pitch({ zoom, gap, caption }, { width, height }) {
  return [width * zoom + gap, height * zoom + gap + caption];
}

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
