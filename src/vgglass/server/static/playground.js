// A window that slides over a few numbers: sizes, strides and padding to be tried.
import { json, query } from "./api.js";
import { at, fill, make, number, say } from "./words.js";

const FIELDS = { size: [1, 24], kernel: [1, 24], stride: [1, 24], padding: [0, 12], dilation: [1, 12] };
const PRESETS = {
  note: { operation: "max", size: 12, kernel: 6, stride: 2, padding: 0, dilation: 1 },
  vggPool: { operation: "max", size: 12, kernel: 2, stride: 2, padding: 0, dilation: 1 },
  vggConv: { operation: "conv", size: 12, kernel: 3, stride: 1, padding: 1, dilation: 1 },
};
const PACE = 450;

/** @param {any} state of the page */
export function playground(state) {
  let chosen = { ...PRESETS.note }, place = [0, 0], own = false, playing = 0, shown = null, turn = 0;

  /** @param {string} name of a field */
  const label = name => say[name === "kernel" ? "windowSide" : name];

  function controls() {
    const select = make("select", { id: "operation", onchange: event => { chosen.operation = event.target.value; ask(); } },
      ...["max", "min", "avg", "conv"].map(name => make("option", { value: name, selected: name === chosen.operation }, say.operations[name])));
    const fields = Object.entries(FIELDS).map(([name, [least, most]]) => make("label", {}, label(name),
      make("input", { type: "number", id: name, min: least, max: most, value: chosen[name], oninput: event => set(name, event.target) })));
    const presets = Object.keys(PRESETS).map(name => make("button", { type: "button", "data-preset": name, onclick: () => { chosen = { ...PRESETS[name] }; place = [0, 0]; controls(); ask(); } }, say.presets[name]));
    const mine = make("button", { type: "button", id: "own", "aria-pressed": String(own), onclick: () => { own = !own; controls(); ask(); } }, say.ownPixels);
    const button = make("button", { type: "button", id: "slidePlay", "aria-pressed": String(playing > 0), onclick: play }, playing ? say.pause : say.play);
    const focused = document.activeElement?.id;
    at("controls").replaceChildren(make("label", {}, say.operation, select), ...fields, make("div", { class: "choices" }, ...presets, mine, button));
    if (focused && at("controls").querySelector("#" + CSS.escape(focused))) at(focused).focus();
  }

  function set(name, input) {
    const value = Number(input.value), [least, most] = FIELDS[name];
    if (input.value === "" || !Number.isInteger(value) || value < least || value > most) return wrong(fill(say.outOfRange, label(name), least, most));
    chosen[name] = value;
    ask();
  }

  function wrong(text) {
    at("invalid").hidden = !text;
    at("invalid").textContent = text;
    at("playing").hidden = Boolean(text);
    at("playSaid").textContent = "";
  }

  async function ask() {
    const mine = ++turn;
    const found = await json("glass/playground" + query({ ...chosen, row: place[0], column: place[1], image: own && state.image ? state.image.id : null }));
    if (mine !== turn) return;
    shown = found;
    at("formula").textContent = fill(say.formula, found.formula.replaceAll("floor", "⌊⌋").replace(/⌊⌋\((.*)\/ (\d+)\)/, "⌊$1/ $2⌋"));
    if (found.problem === "window") return wrong(fill(say.invalidWindow, found.span, found.room));
    if (found.problem === "padding") return wrong(fill(say.invalidPadding, chosen.padding, chosen.kernel));
    wrong("");
    place = found.window.at;
    draw();
    tell();
  }

  function tell() {
    const { window: seen } = shown, values = seen.values.flatMap((row, i) => row.filter((_, j) => chosen.operation === "conv" || chosen.operation === "avg" || seen.inside[i][j]));
    const listed = values.slice(0, 36).map(number).join(", ") + (values.length > 36 ? ", …" : "");
    at("playSaid").textContent = fill(say.played[chosen.operation], ...place, listed, number(seen.result));
  }

  function draw() {
    const { values, outputs, window: seen } = shown, n = values.length, pad = chosen.padding, room = n + 2 * pad;
    const most = Math.max(...values.flat(), 1), style = getComputedStyle(document.body), ink = style.color;
    const cell = Math.max(8, Math.floor(Math.min(430, at("playing").clientWidth || 430) / room));
    const input = at("playInput"), output = at("playOutput");
    input.width = input.height = room * cell + 2;
    const context = input.getContext("2d");
    for (let i = 0; i < room; i++) for (let j = 0; j < room; j++) {
      const inside = i >= pad && j >= pad && i < n + pad && j < n + pad;
      square(context, j, i, cell, inside ? values[i - pad][j - pad] : null, most, ink);
    }
    for (let i = 0; i < chosen.kernel; i++) for (let j = 0; j < chosen.kernel; j++) {
      const row = seen.top + pad + i * chosen.dilation, column = seen.left + pad + j * chosen.dilation;
      const won = seen.winner && seen.winner[0] === i && seen.winner[1] === j;
      ring(context, column, row, cell, won ? "#d9730d" : "#ffd400", won ? 4 : 2);
    }
    const side = outputs.length, large = Math.max(8, Math.min(40, Math.floor(Math.min(430, at("playing").clientWidth || 430) / side)));
    const top = Math.max(...outputs.flat().map(Math.abs), 1);
    output.width = output.height = side * large + 2;
    const drawn = output.getContext("2d");
    outputs.forEach((row, i) => row.forEach((value, j) => square(drawn, j, i, large, value, top, ink)));
    ring(drawn, place[1], place[0], large, "#ffd400", 3);
    output.dataset.cell = String(large);
    input.setAttribute("aria-label", fill(say.playInputLabel, n, n));
    output.setAttribute("aria-label", fill(say.playOutputLabel, side, side));
  }

  function square(context, column, row, cell, value, most, ink) {
    const left = column * cell + 1, top = row * cell + 1;
    context.strokeStyle = "#8888";
    context.lineWidth = 1;
    context.strokeRect(left + 0.5, top + 0.5, cell - 1, cell - 1);
    context.fillStyle = value === null ? "#8883" : `rgba(26, 95, 208, ${0.06 + 0.5 * Math.min(1, Math.abs(value) / most)})`;
    context.fillRect(left, top, cell, cell);
    if (cell < 20) return;
    context.fillStyle = ink;
    context.font = Math.min(14, Math.floor(cell / 2.3)) + "px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(value === null ? "0" : String(Number(value.toFixed(Math.abs(value) < 10 && value % 1 ? 1 : 0))), left + cell / 2, top + cell / 2, cell - 2);
  }

  function ring(context, column, row, cell, colour, thick) {
    for (const [shade, line] of [["#000a", thick + 2], [colour, thick]]) {
      context.strokeStyle = shade;
      context.lineWidth = line;
      context.strokeRect(column * cell + 2, row * cell + 2, cell - 2, cell - 2);
    }
  }

  function play() {
    playing = playing ? (clearInterval(playing), 0) : setInterval(() => step(1), PACE);
    controls();
  }

  function step(by) {
    if (!shown || shown.problem) return;
    const side = shown.outputs.length, next = (place[0] * side + place[1] + by + side * side) % (side * side);
    move(Math.floor(next / side), next % side);
  }

  function move(row, column) {
    const side = shown.outputs.length, clip = x => Math.min(side - 1, Math.max(0, x));
    place = [clip(row), clip(column)];
    ask();
  }

  at("playOutput").addEventListener("pointermove", event => {
    if (!shown || shown.problem || playing) return;
    const frame = event.target.getBoundingClientRect(), side = shown.outputs.length;
    const row = Math.floor((event.clientY - frame.top) / frame.height * side), column = Math.floor((event.clientX - frame.left) / frame.width * side);
    if (row !== place[0] || column !== place[1]) move(row, column);
  });
  at("playOutput").addEventListener("keydown", event => {
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (!shown || shown.problem || !(event.key in moves)) return;
    event.preventDefault();
    move(place[0] + moves[event.key][0], place[1] + moves[event.key][1]);
  });
  at("controls").addEventListener("submit", event => event.preventDefault());
  return { words: () => { controls(); ask(); }, anew: () => { if (own) ask(); } };
}
