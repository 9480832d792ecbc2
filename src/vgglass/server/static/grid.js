// A layer's maps side by side: sorted, on a stated colour scale, each to be pointed at and chosen.
import { floats, json, lines } from "./api.js";
import { bitmap, coloured, legend } from "./colours.js";
import { at, fill, make, number, percent, say, sides, together } from "./words.js";

const GAP = 4, CAPTION = 13, SMALLEST = 40, CELL = 12, LARGE_CELL = 30;

/** @param {any} state of the page
 * @param {{point: (channel: number, row: number, column: number, value: number) => void, choose: (channel: number, row: number | null, column: number | null) => void}} told */
export function grids(state, told) {
  const canvas = at("grid");
  /** What is drawn. @type {any} */
  let shown = null, order = "channel", scale = "map", before = false, effects = null, turn = 0, current = 0;
  let stop = new AbortController();

  /** Open a layer for the image that is there. */
  async function open() {
    const mine = ++turn, image = state.image, layer = state.model.layers.find(found => found.name === state.layer);
    stop.abort();
    stop = new AbortController();
    effects = null;
    if (layer.kind !== "relu") before = false;
    if (order === "effect") order = "channel";
    if (!image) return;
    const index = state.model.layers.indexOf(layer), name = before ? state.model.layers[index - 1].name : layer.name;
    const path = "glass/images/" + image.id;
    const [facts, maps, whole] = await Promise.all([
      json(path + "/layers/" + name), floats(path + "/maps/" + name), scale === "network" ? json(path + "/limit") : null,
    ]);
    if (mine !== turn || image !== state.image) return;
    const [width, height, channels] = layer.shape;
    shown = { layer, name, facts, maps, width, height, channels, limit: whole ? whole.limit : null, signed: facts.minimum < 0 };
    draw();
    tools();
    figures();
  }

  function figures() {
    const { layer, facts } = shown, parts = [say.kinds[layer.kind], fill(say.shape, sides(layer.shape))];
    if (layer.parameters) parts.push(fill(say.parameters, layer.parameters.toLocaleString("en")));
    if (["conv", "maxpool", "avgpool"].includes(layer.kind)) parts.push(fill(say.geometry, layer.kernel, layer.kernel, layer.stride, layer.padding));
    parts.push(fill(say.range, number(facts.minimum), number(facts.mean), number(facts.maximum)));
    if (layer.kind === "relu") parts.push(fill(say.zeros, percent(facts.zeros)));
    parts.push(fill(say.field, layer.receptive_field, layer.receptive_field, layer.jump));
    at("layerFigures").textContent = parts.join(" · ");
    const dead = facts.dead || [];
    at("dead").textContent = dead.length ? fill(say.dead, dead.length, dead.slice(0, 40).join(", ") + (dead.length > 40 ? " …" : "")) : "";
  }

  /** Channels in the order that was chosen; those whose effect is not known yet come last. */
  function channels() {
    if (order === "activation") return shown.facts.by_activation;
    const all = Array.from({ length: shown.channels }, (_, i) => i);
    if (order === "effect" && effects) all.sort((a, b) => Math.abs(effects[b]?.move ?? 0) - Math.abs(effects[a]?.move ?? 0) || a - b);
    return all;
  }

  /** Where tiles stand: single numbers as bare cells, maps of at least SMALLEST pixels with their number above. */
  function layout() {
    const { width, height, channels: count } = shown, room = Math.max(240, at("grid").parentElement.clientWidth - 4);
    if (width === 1) {
      const zoom = Math.max(CELL, Math.min(LARGE_CELL, Math.floor(Math.sqrt(room * LARGE_CELL * 8 / count))));
      return { zoom, gap: 1, caption: 0, columns: Math.min(count, Math.floor(room / (zoom + 1))) };
    }
    const zoom = Math.max(1, Math.ceil(SMALLEST / width), count < 9 ? Math.floor(Math.min(220, room / 3) / width) : 0);
    return { zoom, gap: GAP, caption: CAPTION, columns: Math.min(count, Math.max(3, Math.floor(room / (width * zoom + GAP)))) };
  }

  function draw() {
    const { facts, maps, width, height, signed } = shown, { zoom, gap, caption, columns } = layout(), list = channels(), area = width * height;
    const across = width * zoom + gap, down = height * zoom + gap + caption;
    canvas.width = columns * across;
    canvas.height = Math.ceil(list.length / columns) * down;
    const context = canvas.getContext("2d"), style = getComputedStyle(canvas), largest = Math.max(...facts.ends);
    const own = scale === "map" && width > 1, dead = new Set(facts.dead || []);
    context.imageSmoothingEnabled = false;
    context.font = "11px system-ui, sans-serif";
    list.forEach((channel, i) => {
      const left = i % columns * across, top = Math.floor(i / columns) * down + caption;
      const end = own ? facts.ends[channel] : scale === "network" && shown.limit ? shown.limit : largest;
      context.drawImage(bitmap(coloured(maps, channel * area, area, end, signed), width, height), left, top, width * zoom, height * zoom);
      if (caption) {
        context.fillStyle = dead.has(channel) ? "#d9730d" : style.color;
        context.fillText(channel + (dead.has(channel) ? " ✕" : ""), left, top - 3, width * zoom);
      }
      if (state.silenced.has(shown.layer.name + ":" + channel)) cross(context, left, top, width * zoom, height * zoom);
      if (channel === state.channel) outline(context, left, top, width * zoom, height * zoom);
    });
    Object.assign(shown, { list, columns, across, down, caption, zoom });
    current = Math.max(0, list.indexOf(state.channel));
    canvas.setAttribute("aria-label", fill(say.gridLabel, shown.name, list.length));
    canvas.dataset.layer = shown.name;
    const mark = own ? "a" : number(scale === "network" && shown.limit ? shown.limit : largest);
    legend(at("legend"), [signed ? "−" + mark : "0", signed ? "0" : "", mark], signed);
    at("gridLegend").textContent = together(say.scales[own || width > 1 ? scale : "layer"], say.orders[order]);
  }

  function outline(context, left, top, width, height) {
    context.lineWidth = 3;
    context.strokeStyle = "#ffd400";
    context.strokeRect(left + 1, top + 1, width - 2, height - 2);
  }

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

  /** Choices over the grid. */
  function tools() {
    const select = (label, value, names, change) => make("label", {}, say[label] + " ", make("select", { id: "by-" + label, onchange: event => change(event.target.value) },
      ...names.map(name => make("option", { value: name, selected: name === value }, say[label + "s"][name].split(/[.。:：]/)[0]))));
    const parts = [
      select("order", order, state.layer === "image" || state.layer === "prob" ? ["channel", "activation"] : ["channel", "activation", "effect"], sort),
      select("scale", scale, ["map", "layer", "network"], name => { scale = name; if (name === "network" && !shown.limit) open(); else draw(); }),
    ];
    if (shown.layer.kind === "relu") {
      parts.push(make("button", { type: "button", id: "beforeRelu", "aria-pressed": String(before), onclick: () => { before = !before; open(); } }, say.beforeRelu));
    }
    at("gridTools").replaceChildren(...parts);
  }

  /** @param {string} name of an order; by effect each channel is silenced in turn, and the tiles settle as answers come */
  async function sort(name) {
    order = name;
    if (name === "effect" && !effects) {
      const mine = turn, image = state.image, list = effects = new Array(shown.channels);
      let known = 0;
      try {
        for await (const batch of lines("glass/images/" + image.id + "/effects/" + state.layer, { signal: stop.signal })) {
          if (mine !== turn || effects !== list) return;
          for (const effect of batch) list[effect.channel] = effect;
          known += batch.length;
          at("gridSaid").textContent = fill(say.silencing, known, shown.channels);
          if (order === "effect") draw();
        }
      } catch (error) {
        if (error.name !== "AbortError") throw error;
      }
    } else draw();
  }

  /** The tile and its cell under a point of the canvas, or null. @param {PointerEvent | MouseEvent} event */
  function found(event) {
    const frame = canvas.getBoundingClientRect(), stretch = canvas.width / frame.width;
    const x = (event.clientX - frame.left) * stretch, y = (event.clientY - frame.top) * stretch;
    const i = Math.floor(y / shown.down) * shown.columns + Math.floor(x / shown.across);
    const column = Math.floor(x % shown.across / shown.zoom), row = Math.floor((y % shown.down - shown.caption) / shown.zoom);
    if (!(i < shown.list.length && column < shown.width && row >= 0 && row < shown.height)) return null;
    return { channel: shown.list[i], row, column };
  }

  const value = (channel, row, column) => shown.maps[(channel * shown.height + row) * shown.width + column];

  /** @param {number} channel @param {number} row @param {number} column */
  function point(channel, row, column) {
    const { facts } = shown, parts = [fill(say.channel, channel)];
    if (["fc8", "prob"].includes(shown.name)) parts.push(state.model.classes[channel]);
    parts.push(fill(say.value, row, column, number(value(channel, row, column))));
    if (shown.width > 1) parts.push(fill(say.range, number(facts.minima[channel]), number(facts.means[channel]), number(facts.maxima[channel])));
    if (shown.layer.kind === "relu" && shown.width > 1) parts.push(fill(say.zeros, percent(facts.zeros_each[channel])));
    if (effects?.[channel]) parts.push(fill(say.effect, number(effects[channel].move), state.model.classes[effects[channel].winner]));
    at("gridSaid").textContent = parts.join(" · ");
    told.point(channel, row, column, value(channel, row, column));
  }

  canvas.addEventListener("pointermove", event => { const place = shown && found(event); if (place) point(place.channel, place.row, place.column); });
  canvas.addEventListener("click", event => { const place = shown && found(event); if (place) told.choose(place.channel, place.row, place.column); });
  canvas.addEventListener("keydown", event => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: shown?.columns, ArrowUp: -shown?.columns };
    if (!shown || !(event.key in steps || event.key === "Enter")) return;
    event.preventDefault();
    current = Math.min(shown.list.length - 1, Math.max(0, current + (steps[event.key] || 0)));
    const channel = shown.list[current];
    if (event.key === "Enter") at("map").focus();
    told.choose(channel, null, null);
    point(channel, state.at[0], state.at[1]);
  });
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => shown && draw(), 150); });

  return {
    open, draw: () => { if (shown) draw(); }, words: () => { if (shown) { draw(); tools(); figures(); } },
    /** The chosen channel's map and its colours' end. */
    map: () => shown && shown.layer.name === state.layer ? {
      ...shown, values: shown.maps.subarray(state.channel * shown.width * shown.height, (state.channel + 1) * shown.width * shown.height),
      end: scale === "map" && shown.width > 1 ? shown.facts.ends[state.channel] : scale === "network" && shown.limit ? shown.limit : Math.max(...shown.facts.ends),
    } : null,
    strongest: () => shown.facts.strongest,
  };
}
