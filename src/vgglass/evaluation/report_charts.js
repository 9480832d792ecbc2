"use strict";
// The report's data, its texts in two languages, and building blocks: elements, tables, charts.

/** @param {string} id of a script element with JSON in it */
const parsed = id => JSON.parse(document.getElementById(id)?.textContent ?? "null");
/** @type {Facts} */
const facts = parsed("facts");
/** @type {Translations} */
const translations = parsed("words");
const REMEMBERED = "vgglass.lang";

// Local storage may be unavailable for file: URLs; the page then opens in the browser's language.
/** @returns {Language} */
function preferredLanguage() {
  let language = null;
  try {
    language = localStorage.getItem(REMEMBERED);
  } catch { /* none is remembered */ }
  return (language ?? navigator.language).startsWith("zh") ? "zh" : "en";
}
/** @param {Language} language */
function remember(language) {
  try {
    localStorage.setItem(REMEMBERED, language);
  } catch { /* next time the browser's language */ }
}
let lang = preferredLanguage();
let words = translations[lang];

/** @param {number} value */
const count = value => value.toLocaleString("en");
/** @param {number} share @param {number} [digits] */
const percent = (share, digits = 1) => (100 * share).toFixed(digits) + (lang === "zh" ? "%" : "\u00a0%");
/** @param {number} value @param {number} [digits] */
const number = (value, digits = 3) => value.toFixed(digits);
/** @param {Bounds} bounds */
const range = ({ low, high }) => (100 * low).toFixed(1) + "\u2060–\u2060" + percent(high);
/** @param {...string} sentences */
const joined = (...sentences) => sentences.join(lang === "zh" ? "" : " ");
/** @param {readonly string[]} names */
const listed = names => names.join(lang === "zh" ? "、" : ", ");

/** @template {keyof SVGElementTagNameMap} K @param {K} tag
 * @param {Record<string, string | number>} [attributes] @param {...(Node | string)} children */
function makeSvg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** @typedef {readonly (string | number)[]} Row */
/** @param {string} caption @param {Row} head @param {readonly Row[]} rows the first cell of each heads it */
function table(caption, head, rows) {
  const heads = make("tr", {}, ...head.map(cell => make("th", { scope: "col" }, cell)));
  const body = rows.map(([first, ...rest]) =>
    make("tr", {}, make("th", { scope: "row" }, first), ...rest.map(cell => make("td", {}, cell))));
  const whole = make("table", { "aria-label": caption }, make("thead", {}, heads), make("tbody", {}, ...body));
  return make("div", { class: "wide" }, whole);
}
/** @param {string} caption @param {Row} head @param {readonly Row[]} rows */
const numbers = (caption, head, rows) =>
  make("details", {}, make("summary", {}, words.numbers), table(caption, head, rows));
/** @param {readonly (readonly [string, string])[]} entries texts with the names of their colours */
function legend(entries) {
  return make("div", { class: "legend" }, ...entries.map(([text, colour]) => {
    const key = make("span", {}, text);
    key.style.setProperty("--key", `var(--${colour})`);
    return key;
  }));
}
/** @param {keyof ReportWords["sections"]} id @param {string} note @param {...Node} children */
function section(id, note, ...children) {
  const title = make("h2", { id: id + "-title" }, words.sections[id]);
  return make("section", { id, "aria-labelledby": title.id }, title, make("p", {}, note), ...children);
}
/** @param {string} source @param {string} text */
const picture = (source, text) => make("img", { src: source, alt: text, loading: "lazy" });

const WIDTH = 330, HEIGHT = 211, LEFT = 40, RIGHT = 8, TOP = 10, BOTTOM = 40;

/** Tick values for an axis from 0. @param {readonly number[]} values @param {boolean} whole from 0 to 1 */
function scale(values, whole) {
  if (whole) return { low: 0, high: 1, step: 0.25 };
  const most = Math.max(...values), power = 10 ** Math.floor(Math.log10(most || 1));
  const step = [0.2, 0.5, 1, 2].map(part => part * power).find(part => most / part <= 5) || power * 2;
  return { low: 0, high: Math.ceil(most / step) * step || 1, step };
}

/**
 * @typedef {object} Line
 * @property {string} colour
 * @property {(number | null)[]} values
 * @property {number[]} [low] ends of each value's interval
 * @property {number[]} [high]
 */
/**
 * @typedef {object} ChartFacts
 * @property {string} title
 * @property {string[]} labels of the steps, which stand at equal distances
 * @property {string} axis
 * @property {Line[]} lines
 * @property {boolean} whole whether values go from 0 to 1
 * @property {number | null} chosen the step of the dashed line
 * @property {string} text accessible description
 */
/** @param {ChartFacts} facts */
function chart({ title, labels, axis, lines, whole, chosen, text }) {
  const values = lines.flatMap(line => line.values).filter(value => value !== null);
  const { low, high, step } = scale(values, whole), right = WIDTH - RIGHT, bottom = HEIGHT - BOTTOM;
  const x = (/** @type {number} */ i) =>
    LEFT + 8 + (right - LEFT - 16) * (labels.length > 1 ? i / (labels.length - 1) : 0.5);
  const y = (/** @type {number} */ value) =>
    TOP + (bottom - TOP) * (1 - (Math.min(Math.max(value, low), high) - low) / (high - low));
  const svg = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": text });
  for (let value = low; value <= high + step / 2; value += step) {
    const label = whole ? percent(value, 0) : String(Number(value.toPrecision(3)));
    svg.append(makeSvg("line", { class: "grid", x1: LEFT, x2: right, y1: y(value), y2: y(value) }));
    svg.append(makeSvg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, label));
  }
  const every = Math.ceil(labels.length / (Math.max(...labels.map(label => label.length)) > 4 ? 7 : 8));
  for (const [i, label] of labels.entries()) {
    if (i % every === 0) svg.append(makeSvg("text", { x: x(i), y: bottom + 18, "text-anchor": "middle" }, label));
  }
  svg.append(makeSvg("text", { x: (LEFT + right) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, axis));
  if (chosen !== null) {
    svg.append(makeSvg("line", { class: "chosen", x1: x(chosen), x2: x(chosen), y1: TOP, y2: bottom }));
  }
  for (const line of lines) svg.append(...drawn(line, labels.length, chosen, x, y));
  return make("figure", { class: "chart" }, make("h3", {}, title), svg);
}

/** A line with its intervals and, unless there are too many, its points.
 * @param {Line} line @param {number} steps @param {number | null} chosen
 * @param {(i: number) => number} x @param {(value: number) => number} y */
function drawn({ colour, values, low, high }, steps, chosen, x, y) {
  const bars = (low ?? []).map((bottom, i) => {
    const ends = { x1: x(i), x2: x(i), y1: y(bottom), y2: y(high?.[i] ?? bottom) };
    return makeSvg("line", { class: "bar " + colour, ...ends });
  });
  const points = values.flatMap((value, i) => (value === null ? [] : [{ i, cx: x(i), cy: y(value) }]));
  const path = points.map(({ cx, cy }) => cx + "," + cy).join(" ");
  const dots = steps > 40 ? [] : points.map(({ i, cx, cy }) =>
    makeSvg("circle", { class: `dot ${colour}${i === chosen ? " full" : ""}`, cx, cy, r: low ? 3.5 : 2.2 }));
  return [...bars, makeSvg("polyline", { class: "path " + colour, points: path }), ...dots];
}

// The reliability diagram.
const PLOT = 210, COUNTS = 42; // heights of the diagram, and of the histogram below it

function reliability() {
  const bins = facts.calibration.bins.filter(bin => bin.images), most = Math.max(...bins.map(bin => bin.images));
  const right = WIDTH - RIGHT, floor = TOP + PLOT + 20 + COUNTS, height = TOP + PLOT + COUNTS + 60;
  const x = (/** @type {number} */ value) => LEFT + (right - LEFT) * value;
  const y = (/** @type {number} */ value) => TOP + PLOT * (1 - value);
  const text = fill(words.reliability, { ece: percent(facts.calibration.ece), images: count(facts.images) });
  const svg = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": text });
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    const anchor = value === 1 ? "end" : value ? "middle" : "start", label = percent(value, 0);
    svg.append(
      makeSvg("line", { class: "grid", x1: LEFT, x2: right, y1: y(value), y2: y(value) }),
      makeSvg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, label),
      makeSvg("text", { x: x(value), y: floor + 14, "text-anchor": anchor }, label),
    );
  }
  for (const { low, high, images, accuracy, confidence } of bins) {
    const left = x(low) + 1, width = x(high) - x(low) - 2, tall = Math.max(1, (COUNTS * images) / most);
    const style = "level" + (images < facts.few ? " few" : ""), top = y(accuracy), mean = y(confidence);
    svg.append(
      makeSvg("rect", { class: style, x: left, width, y: top, height: PLOT + TOP - top }),
      makeSvg("line", { class: "mean-confidence", x1: left, x2: left + width, y1: mean, y2: mean }),
      makeSvg("rect", { class: "counts", x: left, width, y: floor - tall, height: tall }),
    );
  }
  svg.append(
    makeSvg("line", { class: "chosen", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }),
    makeSvg("line", { class: "axis", x1: LEFT, x2: right, y1: floor, y2: floor }),
    makeSvg("text", { x: (LEFT + right) / 2, y: height - 4, "text-anchor": "middle" }, words.confidence),
    makeSvg("text", { x: LEFT + 2, y: floor - COUNTS - 5 }, fill(words.most, { images: count(most) })),
  );
  const head = [words.confidence, words.columns.images, words.meanConfidence, words.accuracy];
  const rows = bins.map(({ low, high, images, confidence, accuracy }) =>
    [percent(low, 0) + "–" + percent(high, 0), count(images), percent(confidence), percent(accuracy)]);
  const key = legend([[words.accuracy, "blue"], [words.meanConfidence, "orange"], [words.imagesBelow, "soft"]]);
  const title = words.reliabilityTitle;
  return make("figure", { class: "chart" }, make("h3", {}, title), svg, key, numbers(title, head, rows));
}
