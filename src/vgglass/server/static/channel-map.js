// One channel's map with selectable cells, and an animation of the window over the input.
import { channelMap, chooseCell, pointAt, toggleAblation } from "./actions.js";
import { fetchMaps } from "./api.js";
import { bitmap, coloured } from "./colours.js";
import { ARROWS, byId, clip, frame, PageElement, pictureSides, sized } from "./element.js";
import { attempt } from "./failures.js";
import { rove, settle } from "./roving.js";
import { get, touches } from "./store.js";
import { fill, make } from "./ui.js";
import { number, words } from "./words.js";

const PACE = 500; // milliseconds per cell

class ChannelMap extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["maps", "channel", "cell", "ablated", "scale", "language", "layer", "body"];
  #canvas = this.child("#map", HTMLCanvasElement);
  #tools = byId("mapTools", HTMLElement);
  #timer = 0;

  connectedCallback() {
    super.connectedCallback();
    rove(this.#tools);
    this.#canvas.addEventListener("pointermove", event => {
      const cell = this.#timer ? null : this.#cellAt(event);
      if (!cell) return;
      this.#describe(cell);
      pointAt(cell);
    });
    this.#canvas.addEventListener("click", event => {
      const cell = this.#cellAt(event), { channel } = get();
      if (cell && channel !== null) chooseCell(channel, cell);
    });
    this.#canvas.addEventListener("keydown", event => this.#move(event));
  }

  /** @param {import("./store.js").Changed} changed */
  update(changed) {
    if (touches(changed, "layer", "body") && this.#timer) this.#play();
    const { maps, layer, channel, cell, model, scale } = get();
    if (!maps || maps.layer.name !== layer || channel === null || !cell || !model?.glass) return;
    const { width, height, name, signed, figures, limit } = maps, values = channelMap(maps, channel);
    const zoom = pictureSides().map / Math.max(width, height), side = Math.max(zoom, 5);
    this.#canvas.hidden = width === 1 && height === 1; // 1x1 maps are not drawn
    const shared = (scale === "network" && limit) || Math.max(...figures.ends);
    const end = scale === "map" && width > 1 ? figures.ends[channel] : shared;
    const context = sized(this.#canvas, width * zoom, height * zoom), [row, column] = cell, shift = (zoom - side) / 2;
    context.imageSmoothingEnabled = false;
    const picture = bitmap(coloured(values, 0, width * height, end, signed), width, height);
    context.drawImage(picture, 0, 0, width * zoom, height * zoom);
    frame(context, column * zoom + shift, row * zoom + shift, side, side);
    const label = ["fc8", "prob"].includes(layer) ? " · " + model.classes[channel] : "";
    this.child("#map-title", HTMLElement).textContent = fill(words.mapTitle, { channel }) + label;
    const sentence = fill(words.mapLabel, { layer: name, channel, rows: height, columns: width });
    this.#canvas.setAttribute("aria-label", sentence);
    this.#describe(cell);
    this.#drawTools();
  }

  /** @param {import("./store.js").Cell} cell */
  #describe([row, column]) {
    const { maps, channel } = get();
    if (!maps || channel === null) return;
    const value = channelMap(maps, channel)[row * maps.width + column];
    const said = maps.width > 1 ? fill(words.value, { row, column, value: number(value) }) : number(value);
    this.child("#mapSaid", HTMLElement).textContent = said;
  }

  #drawTools() {
    const { maps, layer, channel, ablated } = get(), name = layer + ":" + channel, off = ablated.has(name);
    const parts = [];
    if (maps && maps.width > 1) {
      const attributes = { type: "button", id: "play", "aria-pressed": String(this.#timer > 0) };
      const text = this.#timer ? words.pause : words.play;
      parts.push(make("button", { ...attributes, onclick: () => this.#play() }, text));
    }
    if (layer !== "image" && layer !== "prob") {
      const attributes = { type: "button", id: "silence", "aria-pressed": String(off) };
      const text = off ? words.restoreChannel : words.silence;
      parts.push(make("button", { ...attributes, onclick: () => toggleAblation(name) }, text));
    }
    if (maps && maps.width > 1 && layer !== "image") {
      parts.push(make("button", { type: "button", id: "largest", onclick: () => this.#seek(1) }, words.largest));
      if (maps.signed || maps.layer.kind === "relu") {
        const text = maps.layer.kind === "relu" ? words.clippedCell : words.mostNegative;
        parts.push(make("button", { type: "button", id: "smallest", onclick: () => this.#seek(-1) }, text));
      }
    }
    const focused = document.activeElement?.id;
    this.#tools.replaceChildren(...parts);
    this.#tools.setAttribute("aria-label", words.mapTools);
    settle(this.#tools);
    for (const button of parts) if (button.id === focused) button.focus();
  }

  /** Choose the largest number of the map, or the most negative: before a ReLU, which clips it.
   * @param {1 | -1} sign */
  async #seek(sign) {
    const { maps, channel, image, model } = get();
    if (!maps || channel === null || !image || !model?.glass) return;
    const before = model.layers[model.layers.indexOf(maps.layer) - 1], clipped = sign < 0 && maps.layer.kind === "relu";
    const values = clipped
      ? await attempt("grid", () => fetchMaps(image, before.name, { channel }))
      : channelMap(maps, channel);
    if (!values || maps !== get().maps) return;
    const at = values.reduce((best, value, i) => (sign * value > sign * values[best] ? i : best), 0);
    chooseCell(channel, [Math.floor(at / maps.width), at % maps.width]);
  }

  #play() {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = this.#timer ? 0 : setInterval(() => this.#advance(), PACE);
    this.#drawTools();
  }

  /** The next cell in reading order, from the last one to the first. */
  #advance() {
    const { maps, channel, cell } = get();
    if (!maps || channel === null || !cell) return;
    const next = (cell[0] * maps.width + cell[1] + 1) % (maps.width * maps.height);
    chooseCell(channel, [Math.floor(next / maps.width), next % maps.width]);
  }

  /** @param {MouseEvent} event @returns {import("./store.js").Cell | null} */
  #cellAt(event) {
    const { maps } = get(), { left, top, width, height } = this.#canvas.getBoundingClientRect();
    if (!maps) return null;
    const index = (/** @type {number} */ share, /** @type {number} */ count) => clip(Math.floor(share * count), count);
    return [index((event.clientY - top) / height, maps.height), index((event.clientX - left) / width, maps.width)];
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const { maps, channel, cell } = get(), move = ARROWS.get(event.key);
    if (!maps || channel === null || !cell || !(move || event.key === " ")) return;
    event.preventDefault();
    if (!move) this.#play();
    else chooseCell(channel, [clip(cell[0] + move[0], maps.height), clip(cell[1] + move[1], maps.width)]);
  }
}

customElements.define("channel-map", ChannelMap);
