// How well it has learned, the learning curve, undo and downloads.
import { PageElement } from "./element.js";
import { get, patch } from "./store.js";
import { fetchCurve, fetchDownload } from "./teach-api.js";
import { reason, undo } from "./teach-lesson.js";
import { fill, make } from "./ui.js";
import { percent, words } from "./words.js";

const WIDE = 0.3; // of an interval that says something, as teaching/lesson.py has it
const WIDTH = 260, HEIGHT = 96, LEFT = 40, BOTTOM = 22;
const CALM = 700; // milliseconds without a change until the curve is asked for
const FLAT = 0.01; // gain of the last doubling

class TeachSummary extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["lesson", "language"];
  #version = -1;
  #title = make("h2", { "aria-live": "polite" });
  #bar = make("div", { class: "interval", "aria-hidden": "true" });
  #note = make("p", { class: "note" });
  #undo = make("button", { type: "button", onclick: () => undo() });
  #downloads = make("div", { class: "choices", role: "group" });
  #folder = make("p", { class: "note" });
  #curve = make("figure", { hidden: true });

  connectedCallback() {
    if (!this.childElementCount) {
      this.append(make("section", { class: "summary" },
        make("div", { class: "told" }, this.#title, this.#bar, this.#note), this.#curve,
        make("div", { class: "carry" }, make("div", { class: "choices" }, this.#undo), this.#downloads, this.#folder)));
    }
    super.connectedCallback();
  }

  /** @param {import("./store.js").Changed} changed */
  update(changed) {
    const { lesson } = get(), texts = words.teach;
    if (!lesson) return;
    this.#tell(lesson);
    this.#undo.disabled = !lesson.undo;
    this.#undo.textContent = lesson.undo ? `${texts.undo}: ${undoText(lesson.undo)}` : texts.undo;
    this.#folder.textContent = fill(texts.folder, { folder: lesson.folder });
    const filled = lesson.classes.filter(each => each.images).length, ready = filled > 1;
    /** @type {["model" | "onnx" | "folder", string, string, boolean][]} */
    const kinds = [
      ["model", texts.downloadModel, "taught.safetensors", ready], ["onnx", texts.downloadOnnx, "taught.onnx", ready],
      ["folder", texts.downloadFolder, "taught.zip", filled > 0],
    ];
    if (changed.has("language") || this.#downloads.dataset.ready !== String(filled)) {
      this.#downloads.dataset.ready = String(filled);
      this.#downloads.setAttribute("aria-label", texts.download);
      this.#downloads.replaceChildren(make("span", { class: "note" }, texts.download), ...kinds.map(
        ([what, text, name, there]) => make("button", {
          type: "button", disabled: !there,
          onclick: event => download(/** @type {HTMLButtonElement} */ (event.currentTarget), what, name),
        }, text)));
    }
    if (lesson.accuracy && lesson.version !== this.#version) this.#drawCurve(lesson.version);
    else if (!lesson.accuracy) this.#curve.hidden = true;
  }

  /** @param {import("./teach-api.js").Lesson} lesson */
  #tell({ accuracy, classes }) {
    const texts = words.teach;
    this.#bar.hidden = !accuracy;
    if (!accuracy) {
      const two = classes.filter(each => each.images).length > 1;
      this.#title.textContent = two ? texts.cantTell : texts.needTwo;
      this.#note.textContent = two ? texts.needMore : texts.needTwoNote;
      return;
    }
    const { share, low, high, groups, known } = accuracy, from = percent(low), to = percent(high);
    this.#bar.replaceChildren(make("i"), make("b"));
    const [span, point] = this.#bar.children;
    if (span instanceof HTMLElement && point instanceof HTMLElement) {
      span.style.left = 100 * low + "%";
      span.style.width = 100 * (high - low) + "%";
      point.style.left = 100 * share + "%";
    }
    this.#bar.classList.toggle("unknown", !known);
    this.#title.textContent = known ? fill(texts.accuracy, { share: percent(share) }) : texts.cantTell;
    const more = Math.max(1, needed(share) - groups);
    this.#note.textContent = known
      ? fill(texts.accuracyNote, { low: from, high: to, groups })
      : fill(texts.cantTellNote, { low: from, high: to, more });
  }

  /** @param {number} version */
  async #drawCurve(version) {
    this.#version = version;
    await new Promise(resolve => setTimeout(resolve, CALM));
    if (version !== this.#version) return;
    const { points } = await fetchCurve(), texts = words.teach;
    if (version !== this.#version) return;
    this.#curve.hidden = points.length < 3;
    if (points.length < 3) return;
    const first = points[0], last = points[points.length - 1], before = points[points.length - 3];
    const trend = last.accuracy - before.accuracy > FLAT ? texts.curveMore : texts.curveFlat;
    const said = fill(texts.curveNote, {
      first: percent(first.accuracy), least: first.images, last: percent(last.accuracy), most: last.images,
    });
    this.#curve.replaceChildren(make("figcaption", {}, make("strong", {}, texts.curve)), drawn(points, said),
      make("figcaption", {}, `${said} ${last.accuracy > 0.995 ? "" : trend}`));
  }
}

/** Groups from which the interval is narrow enough at this accuracy (Wilson), found by trying. @param {number} share */
function needed(share) {
  const z = 1.959964;
  for (let n = 2; n < 200; n++) {
    const wide = 2 * z * Math.sqrt((share * (1 - share)) / n + z * z / (4 * n * n)) / (1 + z * z / n);
    if (wide <= WIDE) return n;
  }
  return 200;
}

/** @param {{what: string} & Record<string, string | number | null>} last */
function undoText(last) {
  const texts = words.teach.undoWhat, what = last.what === "move" && last.class === null ? "moveTray" : last.what;
  const values = Object.fromEntries(Object.entries(last).map(([name, value]) => [name, value ?? ""]));
  return fill(texts[/** @type {keyof typeof texts} */ (what)], values);
}

/** @param {HTMLButtonElement} button @param {"model" | "onnx" | "folder"} what @param {string} name */
async function download(button, what, name) {
  const text = button.textContent ?? "";
  button.disabled = true;
  button.textContent = words.teach.downloading;
  try {
    const url = URL.createObjectURL(await fetchDownload(what));
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    patch({ problem: reason(error) });
  } finally {
    button.disabled = false;
    button.textContent = text;
  }
}

/** @param {{images: number, accuracy: number}[]} points @param {string} said */
function drawn(points, said) {
  const svg = svgPart("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said, class: "curve" });
  const lowest = Math.min(0.9, Math.floor(10 * Math.min(...points.map(each => each.accuracy))) / 10);
  const most = Math.log(points[points.length - 1].images / points[0].images);
  const x = (/** @type {number} */ images) => LEFT + (WIDTH - LEFT - 14) * Math.log(images / points[0].images) / most;
  const y = (/** @type {number} */ share) => 8 + (HEIGHT - BOTTOM - 8) * (1 - (share - lowest) / (1 - lowest));
  for (const share of [lowest, 1]) {
    svg.append(svgPart("line", { x1: LEFT, x2: WIDTH - 8, y1: y(share), y2: y(share), class: "axis" }),
      svgPart("text", { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }, `${Math.round(100 * share)}%`));
  }
  svg.append(svgPart("polyline", { points: points.map(each => `${x(each.images)},${y(each.accuracy)}`).join(" ") }));
  for (const [index, { images, accuracy }] of points.entries()) {
    svg.append(svgPart("circle", { cx: x(images), cy: y(accuracy), r: 3 }));
    if (index % 2 === 0 || index === points.length - 1) {
      svg.append(svgPart("text", { x: x(images), y: HEIGHT - 6, "text-anchor": "middle" }, images));
    }
  }
  return svg;
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {...(string | number)} children */
function svgPart(tag, attributes, ...children) {
  const part = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, String(value));
  part.append(...children.map(String));
  return part;
}

customElements.define("teach-summary", TeachSummary);
