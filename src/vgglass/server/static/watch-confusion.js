// The confusion matrix of the judged validation images at the playhead, and which layers have dead channels.
import { byId, PageElement } from "./element.js";
import { get } from "./store.js";
import { fill } from "./ui.js";
import { colour, sized } from "./watch-canvas.js";
import { percent, words } from "./words.js";

const LARGEST = 30, HEAD = 34, MOST = 20; // pixels of a cell and of the margin; classes that are named

class WatchConfusion extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["watch", "language", "colourScheme", "view"];
  #canvas = this.child("#watchConfusion", HTMLCanvasElement);

  update() {
    const { watch: { status, point }, view } = get();
    if (!status?.about || !point || view !== "watch") return; // also before the texts are there
    const told = words.watch;
    byId("watch-confusion-title", HTMLElement).textContent = told.confusion;
    const { confusion } = point.tensors, note = byId("watchConfusionNote", HTMLElement);
    this.#canvas.hidden = !confusion;
    note.textContent = confusion ? told.confusionNote : told.noConfusion;
    if (confusion) this.#draw(confusion, status.about.classes);
    const { dead } = point.numbers;
    const layers = Object.entries(dead).map(([name, share]) => fill(told.deadLayer, { name, share: percent(share) }));
    byId("watchDead", HTMLElement).textContent = layers.length
      ? fill(told.dead, { layers: layers.join(told.comma), judged: status.about.judged })
      : told.noDead;
  }

  /** @param {import("./watch-api.js").Tensor} confusion @param {string[]} classes */
  #draw({ values }, classes) {
    const count = classes.length, room = Math.max(240, this.clientWidth) - HEAD;
    const cell = Math.max(8, Math.min(LARGEST, Math.floor(room / count)));
    const context = sized(this.#canvas, HEAD + cell * count, HEAD + cell * count);
    context.textAlign = "center";
    context.textBaseline = "middle";
    const all = Array.from(values);
    let right = 0;
    for (let truth = 0; truth < count; truth++) {
      const row = all.slice(truth * count, (truth + 1) * count);
      const total = Math.max(1, row.reduce((sum, each) => sum + each, 0)), middle = HEAD + (truth + 0.5) * cell;
      right += row[truth];
      context.fillStyle = colour("--soft");
      if (count <= MOST) {
        context.fillText(short(classes[truth]), HEAD / 2, middle, HEAD - 4);
        context.fillText(short(classes[truth]), middle, HEAD / 2, cell);
      }
      for (let answer = 0; answer < count; answer++) {
        const [left, top] = [HEAD + answer * cell, HEAD + truth * cell];
        context.globalAlpha = 0.08 + (0.92 * row[answer]) / total;
        context.fillStyle = colour(truth === answer ? "--blue" : "--orange");
        context.fillRect(left + 1, top + 1, cell - 2, cell - 2);
        context.globalAlpha = 1;
        if (row[answer] && cell >= 18) {
          context.fillStyle = row[answer] / total > 0.5 ? colour("--panel") : colour("--ink");
          context.fillText(String(row[answer]), left + cell / 2, top + cell / 2);
        }
      }
    }
    const told = words.watch, judged = all.reduce((sum, each) => sum + each, 0);
    this.#canvas.setAttribute("aria-label", fill(told.confusionLabel, { right, judged }));
  }
}

/** @param {string} name */
const short = name => (name.length > 5 ? name.slice(0, 4) + "…" : name);

customElements.define("watch-confusion", WatchConfusion);
