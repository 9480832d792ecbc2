// One weight's update at the playhead, term by term, computed anew and held beside what training has.
import { byId, PageElement } from "./element.js";
import { get } from "./store.js";
import { fill, make } from "./ui.js";
import { exact, number, words } from "./words.js";

const ROUNDING = 2 ** -22; // of float32 arithmetic, relative to the numbers' size

class WatchWeight extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["watch", "language", "view"];
  #box = this.child("#watchWeight", HTMLElement);

  update() {
    const { watch: { point }, view } = get(), told = words.watch;
    byId("watch-weight-title", HTMLElement).textContent = told.weight;
    byId("watchWeightNote", HTMLElement).textContent = told.weightNote;
    if (!point || view !== "watch") return;
    const { update } = point.numbers;
    this.#box.replaceChildren(...(update ? arithmetic(point.step, update) : [make("p", {}, told.noUpdate)]));
  }
}

/** @param {number} step @param {import("./watch-api.js").Update} update */
function arithmetic(step, { weight, gradient, decay, momentum, before, rate, nesterov, after }) {
  const told = words.watch, slope = gradient + decay * weight, velocity = momentum * before + slope;
  const move = nesterov ? slope + momentum * velocity : velocity, result = weight - rate * move;
  const agrees = Math.abs(result - after) <= ROUNDING * Math.max(Math.abs(weight), Math.abs(rate * move));
  const n = number, m = (/** @type {number} */ x) => (x < 0 ? `(${n(x)})` : n(x));
  const rows = [
    [told.gradient, `g = ∂L/∂w = ${n(gradient)}`],
    [told.decay, `g + λ·w = ${n(gradient)} + ${n(decay)} × ${m(weight)} = ${n(slope)}`],
    [told.momentum, `v = μ·v₀ + (g + λ·w) = ${n(momentum)} × ${m(before)} + ${m(slope)} = ${n(velocity)}`],
    [told.update, nesterov
      ? `Δw = −η·(g + λ·w + μ·v) = −${n(rate)} × (${n(slope)} + ${n(momentum)} × ${m(velocity)}) = ${n(-rate * move)}`
      : `Δw = −η·v = −${n(rate)} × ${m(velocity)} = ${n(-rate * move)}`],
    [told.newWeight, `w + Δw = ${n(weight)} + ${m(-rate * move)} = ${n(result)}`],
  ];
  const said = fill(agrees ? told.agrees : told.differs, { after: exact(after), step });
  return [
    make("dl", { class: "update" },
      ...rows.flatMap(([name, formula]) => [make("dt", {}, name), make("dd", { class: "sum" }, formula)])),
    make("p", { class: agrees ? "good" : "bad" }, said),
  ];
}

customElements.define("watch-weight", WatchWeight);
