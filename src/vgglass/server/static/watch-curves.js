// Loss and accuracy over the steps, on a logarithmic axis as the points are spaced; a click moves the playhead.
import { byId, PageElement } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { colour, sized } from "./watch-canvas.js";
import { lookedAt, movePlayhead, stepsOf } from "./watch-state.js";
import { percent, words } from "./words.js";

/** @typedef {import("./watch-state.js").Watch} Watch */
/** @typedef {{line: [step: number, value: number][], dots: [step: number, value: number][], top: number,
 *   label: (value: number) => string, level: number | null}} Curve level: a dashed line */

const HEIGHT = 190, LEFT = 40, RIGHT = 8, TOP = 8, BOTTOM = 22;
const SMOOTHED = 80; // stretches that the line is the mean of: one step's loss jumps
const TICKS = [0, 1, 10, 100, 1000, 10000, 100000];

class WatchCurves extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["watch", "language", "colourScheme", "view"];
  #loss = this.child("#watchLoss", HTMLCanvasElement);
  #accuracy = this.child("#watchAccuracy", HTMLCanvasElement);

  connectedCallback() {
    super.connectedCallback();
    for (const canvas of [this.#loss, this.#accuracy]) {
      const scrub = (/** @type {PointerEvent} */ event) => {
        if (event.type === "pointermove" && !event.buttons) return;
        this.#scrub((event.offsetX - LEFT) / (canvas.clientWidth - LEFT - RIGHT));
      };
      canvas.addEventListener("pointerdown", scrub);
      canvas.addEventListener("pointermove", scrub);
    }
    addEventListener("resize", () => this.update());
  }

  /** @param {number} along the axis, 0 to 1 */
  #scrub(along) {
    const { status } = get().watch, steps = stepsOf(status), all = status?.about?.steps ?? 1;
    if (!steps.length) return;
    const wanted = along * Math.log1p(all);
    const off = (/** @type {number} */ step) => Math.abs(Math.log1p(step) - wanted);
    movePlayhead(steps.reduce((best, step) => (off(step) < off(best) ? step : best)));
  }

  update() {
    const { watch, view } = get(), { status, losses } = watch;
    if (!status?.about || view !== "watch") return; // also before the texts are there
    const told = words.watch;
    byId("watch-curves-title", HTMLElement).textContent = told.curves;
    const { about, points } = status, guessing = Math.log(about.classes.length);
    const now = points.find(point => point.step === lookedAt(watch));
    draw(this.#loss, watch, {
      line: smoothed(losses, 0), top: Math.ceil(1.6 * guessing), level: guessing, label: value => value.toFixed(1),
      dots: points.flatMap(({ step, loss }) => (loss === null ? [] : [[step, loss]])),
    });
    draw(this.#accuracy, watch, {
      line: smoothed(losses, 1), top: 1, level: 1 / about.classes.length, label: value => `${Math.round(100 * value)}%`,
      dots: points.map(({ step, accuracy }) => [step, accuracy]),
    });
    const loss = now?.loss?.toFixed(3) ?? "∞";
    const said = fill(told.lossSaid, { loss, classes: about.classes.length, log: guessing.toFixed(3) });
    const correct = fill(told.accuracySaid, { accuracy: percent(now?.accuracy ?? 0), judged: about.judged });
    this.#loss.setAttribute("aria-label", said);
    this.#accuracy.setAttribute("aria-label", correct);
    byId("watchLossSaid", HTMLElement).textContent = said;
    byId("watchAccuracySaid", HTMLElement).textContent = correct;
  }
}

/** Step and mean over log-spaced stretches of every step's loss (0) or accuracy (1); not what is not finite.
 * @param {Float32Array} losses @param {0 | 1} which @returns {[number, number][]} */
function smoothed(losses, which) {
  const count = losses.length / 2, found = /** @type {[number, number][]} */ ([]);
  for (let i = 0, start = 0; i < SMOOTHED && start < count; i++) {
    const end = Math.min(count, Math.max(start + 1, Math.round((count + 1) ** ((i + 1) / SMOOTHED) - 1)));
    let sum = 0;
    for (let step = start; step < end; step++) sum += losses[2 * step + which];
    if (Number.isFinite(sum)) found.push([end, sum / (end - start)]);
    start = end;
  }
  return found;
}

/** @param {HTMLCanvasElement} canvas @param {Watch} watch @param {Curve} curve */
function draw(canvas, watch, { line, dots, top, label, level }) {
  const width = Math.max(240, Math.floor(canvas.parentElement?.clientWidth ?? 480));
  const steps = watch.status?.about?.steps ?? 1;
  const context = sized(canvas, width, HEIGHT), bottom = HEIGHT - BOTTOM;
  const x = (/** @type {number} */ step) =>
    LEFT + ((width - LEFT - RIGHT) * Math.log1p(Math.min(step, steps))) / Math.log1p(steps);
  const y = (/** @type {number} */ value) => bottom - (bottom - TOP) * Math.min(1, value / top);
  context.fillStyle = colour("--soft");
  context.strokeStyle = colour("--line");
  context.textAlign = "right";
  for (const value of [0, top / 2, top]) {
    context.fillText(label(value), LEFT - 5, y(value) + 4);
    context.strokeRect(LEFT, y(value), width - LEFT - RIGHT, 0);
  }
  context.textAlign = "center";
  for (const step of TICKS.filter(tick => tick <= steps)) context.fillText(String(step), x(step), HEIGHT - 6);
  if (level !== null) {
    context.setLineDash([5, 4]);
    context.strokeStyle = colour("--soft");
    context.strokeRect(LEFT, y(level), width - LEFT - RIGHT, 0);
    context.setLineDash([]);
  }
  context.strokeStyle = colour("--blue");
  context.lineWidth = 2;
  context.beginPath();
  for (const [step, value] of line) context.lineTo(x(step), y(value));
  context.stroke();
  context.strokeStyle = colour("--orange");
  context.lineWidth = 6;
  context.lineCap = "round"; // a line of no length is a dot
  context.beginPath();
  for (const [step, value] of dots) {
    context.moveTo(x(step), y(value));
    context.lineTo(x(step), y(value));
  }
  context.stroke();
  context.strokeStyle = colour("--ink");
  context.lineWidth = 1.5;
  context.strokeRect(x(lookedAt(watch)), TOP, 0, bottom - TOP);
}

customElements.define("watch-curves", WatchCurves);
