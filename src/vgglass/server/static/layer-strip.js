// The network as blocks, drawn to scale: a bracket over each, a tile for each convolution or pooling with all that
// follows it up to the next. Tiles light up as their layers are computed.
import { openLayer } from "./actions.js";
import { address } from "./address.js";
import { heat } from "./colours.js";
import { byId, colour, PageElement, sized } from "./element.js";
import { get, touches } from "./store.js";
import { fill, KIND_COLOURS, make } from "./ui.js";
import { blocksOf, unitOf } from "./units.js";
import { rove, settle } from "./roving.js";
import { percent, sides, words } from "./words.js";

/** @typedef {import("./units.js").Unit} Unit */
/** @typedef {import("./units.js").Block} Block */

const FRONT = 46, DEEPEST = 13, LEAST = 5, STICK = 9; // pixels

class LayerStrip extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "image", "sample", "summaries", "layer", "maps", "colourScheme"];
  #strip = this.child("#strip", HTMLElement);
  /** The layer opened here, to be focused once rendered. */
  #focused = "";

  connectedCallback() {
    super.connectedCallback();
    rove(this.#strip);
  }

  /** @param {import("./store.js").Changed} changed */
  update(changed) {
    const { model, layer, maps, summaries } = get();
    if (!model?.glass) return;
    if (touches(changed, "model", "language", "sample")) {
      this.#strip.replaceChildren(...blocksOf(model.layers).map(block => this.#block(block)));
    }
    if (touches(changed, "model", "language", "sample", "image", "summaries", "colourScheme")) {
      for (const tile of this.querySelectorAll("a")) this.#draw(tile, summaries);
    }
    const unit = unitOf(model.layers, layer);
    for (const tile of this.querySelectorAll("a")) {
      tile.setAttribute("aria-current", String(tile.dataset.layer === unit.name));
    }
    const current = this.querySelector("[aria-current=true]");
    for (const block of this.querySelectorAll(".block")) block.classList.toggle("open", block.contains(current));
    if (touches(changed, "layer")) current?.scrollIntoView({ block: "nearest" });
    settle(this.#strip);
    if (this.#focused && this.#focused === maps?.layer.name) this.#arrive();
  }

  /** @param {Block} block */
  #block(block) {
    const [name, size, content] = label(block), title = [name, size, content].filter(Boolean).join(" · ");
    const bracket = make("button", { type: "button", class: "bracket", title, onclick: () => this.#open(block) },
      make("strong", {}, name, make("span", { class: "size" }, size && " · " + size)),
      make("span", { class: "content" }, content));
    const tiles = make("div", { class: "tiles" }, ...block.units.map(unit => this.#tile(unit)));
    return make("div", { class: "block" }, bracket, tiles);
  }

  /** Open a block: its first layer. @param {Block} block */
  #open({ units: [first] }) {
    openLayer(first.name);
  }

  /** @param {Unit} unit */
  #tile({ name, number, layers: [{ kind, shape }] }) {
    const tile = make("a", {
      href: address(name), "data-layer": name, class: "tile", title: [words.kinds[kind], sides(shape)].join(" · "),
      onclick: event => {
        event.preventDefault();
        this.#focused = name;
        openLayer(name);
        if (get().maps?.layer.name === name) this.#arrive();
      },
    });
    tile.append(make("canvas", { "aria-hidden": "true" }), make("span", {}, name));
    if (number) tile.append(make("small", {}, String(number)));
    return tile;
  }

  #arrive() {
    const opened = byId("opened", HTMLElement);
    opened.focus({ preventScroll: true });
    if (innerWidth <= 1100) opened.scrollIntoView();
    this.#focused = "";
  }

  /** The unit's last layer, as computed so far. @param {HTMLAnchorElement} tile
   * @param {readonly import("./api.js").LayerSummary[]} summaries */
  #draw(tile, summaries) {
    const { model } = get(), canvas = tile.querySelector("canvas");
    if (!model?.glass || !canvas) return;
    const { layers } = unitOf(model.layers, tile.dataset.layer ?? ""), [{ kind, shape }] = layers;
    const known = summaries.filter(each => layers.some(({ name }) => name === each.name)).at(-1);
    const key = [model.digest, known?.name, known?.maximum, get().colourScheme].join();
    tile.classList.toggle("waiting", !known);
    if (canvas.dataset.key === key) return;
    canvas.dataset.key = key;
    drawBox(canvas, shape, model.size, KIND_COLOURS[kind], known ? heat(known.thumbnail) : null);
    if (!known) return;
    const parts = [words.kinds[kind], sides(shape), fill(words.strongest, { channel: known.strongest })];
    if (known.dead) parts.push(fill(words.zeros, { share: percent(known.zeros) }));
    tile.title = parts.join(" · ");
  }
}

/** A box whose front is the map's side and whose depth its channels: lengths are in proportion to the square roots.
 * A vector, of side 1, is a stick as long as it has numbers.
 * @param {HTMLCanvasElement} canvas @param {readonly number[]} shape W, H, C
 * @param {number} size of the network's square @param {string} paint @param {OffscreenCanvas | null} map */
function drawBox(canvas, [width, , channels], size, paint, map) {
  const vector = width === 1, depth = Math.max(2, DEEPEST * Math.min(1, Math.sqrt(channels / 512)));
  const across = vector ? STICK : Math.max(LEAST, FRONT * Math.sqrt(width / size));
  const down = vector ? Math.max(LEAST, FRONT * Math.min(1, Math.sqrt(channels / 4096))) : across;
  const slant = vector ? 2 : depth, rise = slant / 2, context = sized(canvas, across + slant + 1, down + rise + 1);
  context.translate(0.5, 0.5);
  context.strokeStyle = paint;
  context.fillStyle = paint + "66";
  face(context, [[0, rise], [slant, 0], [across + slant, 0], [across, rise]]);
  context.fillStyle = paint + "99";
  face(context, [[across, rise], [across + slant, 0], [across + slant, down], [across, down + rise]]);
  context.fillStyle = colour("panel");
  face(context, [[0, rise], [across, rise], [across, down + rise], [0, down + rise]]);
  context.imageSmoothingEnabled = false;
  if (map) context.drawImage(map, 0.5, rise + 0.5, across - 1, down - 1);
}

/** @param {CanvasRenderingContext2D} context @param {readonly (readonly [x: number, y: number])[]} corners */
function face(context, corners) {
  context.beginPath();
  for (const [x, y] of corners) context.lineTo(x, y);
  context.closePath();
  context.fill();
  context.stroke();
}

/** Its name, its size, and what is in it. @param {Block} block */
function label({ number, convolutions, pooled, connected, shape }) {
  const size = sides(shape);
  if (number) {
    const text = pooled ? words.blockPooled : words.blockPlain;
    return [fill(words.block, { number }), size, fill(text, { count: convolutions })];
  }
  if (connected) return [words.head, "", fill(pooled ? words.headPooled : words.headConnected, { count: connected })];
  return [words.image, "", size];
}

customElements.define("layer-strip", LayerStrip);
