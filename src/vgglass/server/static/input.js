// What a chosen cell was computed from: the map before it, and the window on it that slides along.
import { floats, query } from "./api.js";
import { bitmap, coloured } from "./colours.js";
import { at, fill, say } from "./words.js";

const LARGE = 336;
/** The map that was drawn last: as a cell moves, only its window does. */
let kept = /** @type {any} */ ({ key: "", values: new Float32Array(), end: 1 });

/** @param {any} state of the page @param {any} told what GET …/steps answered */
export async function showInput(state, told) {
  const canvas = at("before"), index = state.model.layers.findIndex(layer => layer.name === told.layer);
  const before = state.model.layers[index - 1], [width, height] = before.shape, image = state.image;
  canvas.parentElement.hidden = width === 1 || told.kind === "linear";
  if (canvas.parentElement.hidden) return;
  const sums = told.terms.channel_sums;
  const channel = sums ? sums.reduce((best, sum, i) => Math.abs(sum) > Math.abs(sums[best]) ? i : best, 0) : told.channel;
  const key = [image.id, before.name, channel].join(" ");
  if (kept.key !== key) {
    const values = await floats("glass/images/" + image.id + "/maps/" + before.name + query({ channel }));
    if (image !== state.image || told.layer !== state.layer) return;
    kept = { key, values, end: values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1 };
  }
  const signed = kept.values.some(value => value < 0), zoom = Math.max(1, Math.floor(LARGE / Math.max(width, height)));
  canvas.width = width * zoom;
  canvas.height = height * zoom;
  const context = canvas.getContext("2d"), [row, column] = told.position;
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap(coloured(kept.values, 0, kept.values.length, kept.end, signed), width, height), 0, 0, canvas.width, canvas.height);
  const side = sums || ["maxpool", "avgpool"].includes(told.kind) ? (sums ? told.terms.kernel[0].length : told.terms.values[0].length) : 1;
  const { top, left } = told.terms.top === undefined ? { top: row, left: column } : told.terms;
  for (const [colour, line] of [["#000", 4], ["#ffd400", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(left * zoom, top * zoom, side * zoom, side * zoom);
  }
  canvas.setAttribute("aria-label", fill(say.inputLabel, before.name, channel));
  at("beforeSaid").textContent = fill(say.inputLabel, before.name, channel);
}
