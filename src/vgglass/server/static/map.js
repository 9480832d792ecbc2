// One channel's map, large enough to point at single cells; the window that slides over its input.
import { bitmap, coloured } from "./colours.js";
import { at, fill, make, number, say } from "./words.js";

const LARGE = 336, PACE = 500;  // pixels a side at least; milliseconds a cell

/** @param {any} state of the page @param {() => any} taken the chosen channel's map
 * @param {{point: (row: number, column: number) => void, choose: (row: number, column: number) => void, silence: () => void}} told */
export function enlarged(state, taken, told) {
  const canvas = at("map");
  let zoom = 1, playing = 0, shown = null;

  function draw() {
    shown = taken();
    if (!shown) return;
    const { width, height, values, end, signed, layer } = shown, context = canvas.getContext("2d");
    canvas.hidden = width === 1 && height === 1;  // a single number has no map
    zoom = Math.max(1, Math.floor(LARGE / Math.max(width, height)));
    canvas.width = width * zoom;
    canvas.height = height * zoom;
    context.imageSmoothingEnabled = false;
    context.drawImage(bitmap(coloured(values, 0, width * height, end, signed), width, height), 0, 0, canvas.width, canvas.height);
    const [row, column] = state.at, side = Math.max(zoom, 5);
    for (const [colour, line] of [["#000", 4], ["#ffd400", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.strokeRect(column * zoom + (zoom - side) / 2, row * zoom + (zoom - side) / 2, side, side);
    }
    const names = ["fc8", "prob"].includes(layer.name) ? " · " + state.model.classes[state.channel] : "";
    at("map-title").textContent = fill(say.mapTitle, shown.name, state.channel) + names;
    canvas.setAttribute("aria-label", fill(say.mapLabel, shown.name, state.channel, height, width));
    said();
    tools();
  }

  function said() {
    const [row, column] = state.at;
    at("mapSaid").textContent = fill(say.value, row, column, number(shown.values[row * shown.width + column]));
  }

  function tools() {
    const key = state.layer + ":" + state.channel, silent = state.silenced.has(key), parts = [];
    if (shown.width > 1) parts.push(make("button", { type: "button", id: "play", "aria-pressed": String(playing > 0), onclick: play }, playing ? say.pause : say.play));
    if (!["image", "prob"].includes(state.layer)) {
      parts.push(make("button", { type: "button", id: "silence", "aria-pressed": String(silent), onclick: told.silence }, silent ? say.hear : say.silence));
    }
    const focused = document.activeElement?.id;
    at("mapTools").replaceChildren(...parts);
    if (focused === "play" || focused === "silence") at(focused)?.focus();
  }

  function play() {
    playing = playing ? (clearInterval(playing), 0) : setInterval(() => step(1), PACE);
    tools();
  }

  /** The next cell in reading order, from the last one to the first. @param {number} by */
  function step(by) {
    const { width, height } = shown, next = (state.at[0] * width + state.at[1] + by + width * height) % (width * height);
    told.choose(Math.floor(next / width), next % width);
  }

  /** @param {PointerEvent | MouseEvent} event @returns {[number, number]} */
  const place = event => {
    const frame = canvas.getBoundingClientRect(), part = (at, whole, count) => Math.min(count - 1, Math.max(0, Math.floor(at / whole * count)));
    return [part(event.clientY - frame.top, frame.height, shown.height), part(event.clientX - frame.left, frame.width, shown.width)];
  };
  canvas.addEventListener("pointermove", event => {
    if (!shown || playing) return;
    const [row, column] = place(event);
    at("mapSaid").textContent = fill(say.value, row, column, number(shown.values[row * shown.width + column]));
    told.point(row, column);
  });
  canvas.addEventListener("click", event => shown && told.choose(...place(event)));
  canvas.addEventListener("keydown", event => {
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }, move = moves[event.key];
    if (!shown || !(move || event.key === " ")) return;
    event.preventDefault();
    if (event.key === " ") return play();
    const clip = (x, count) => Math.min(count - 1, Math.max(0, x));
    told.choose(clip(state.at[0] + move[0], shown.height), clip(state.at[1] + move[1], shown.width));
  });
  return { draw, stop: () => { if (playing) play(); } };
}
