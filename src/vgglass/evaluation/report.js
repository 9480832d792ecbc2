// The report's sections, one function each; charts and tables are made by report_charts.js.
/** Of the table of classes. @type {{column: keyof ClassRow | null, ascending: boolean}} */
let order = { column: null, ascending: true };
/** Row and column of the confusion matrix. @type {[number, number] | null} */
let openCell = mostConfused();

function mostConfused() {
  const wrong = (facts.pairs ?? facts.cells).filter(([row, column]) => row !== column);
  if (!wrong.length) return null;
  const [row, column] = wrong.reduce((one, two) => (two[2] > one[2] ? two : one));
  return /** @type {[number, number]} */ ([row, column]);
}
/** @param {number} index */
const className = index => facts.classes[index];
/** Note for sections that cover only the first model of an ensemble. */
const ensembleNote = () => (facts.about.others.length ? [words.firstModel] : []);

// The header: metrics, their provenance and caveats.
const SHARES = ["top1", "top5", "balanced_accuracy"]; // metrics that are proportions

/** @param {Headline} row */
function card({ key, value, low, high }) {
  const title = make("span", {}, words.figures[key]), share = SHARES.includes(key);
  if (value === null) {
    return make("div", { class: "card" }, title, make("b", {}, "–"), make("span", {}, words.undefined));
  }
  const figure = make("b", {}, share ? percent(value) : number(value));
  if (low === null || high === null) {
    const reason = facts.folds ? words.foldsInterval : facts.images === 1 ? words.oneImage : words.noInterval;
    return make("div", { class: "card" }, title, figure, make("span", {}, reason));
  }
  const bounds = share ? range({ low, high }) : number(low) + "\u2060–\u2060" + number(high);
  const interval = make("span", {}, fill(words.interval, { interval: bounds }));
  return make("div", { class: "card" }, title, figure, rangeBar(value, low, high), interval);
}

/** @param {number} value @param {number} low @param {number} high */
function rangeBar(value, low, high) {
  const span = make("i"), mark = make("u");
  span.style.left = 100 * low + "%";
  span.style.width = 100 * (high - low) + "%";
  mark.style.left = 100 * value + "%";
  return make("div", { class: "range", "aria-hidden": "true" }, span, mark);
}

function summary() {
  const { about } = facts, splits = /** @type {Record<string, string>} */ (words.splits);
  /** @type {[keyof ReportWords["about"], string | number | null | undefined][]} */
  const lines = [
    ["model", [about.model, ...about.others].join(" + ")],
    ["architecture", fill(words.architecture, { name: about.architecture, side: about.size, classes: about.classes })],
    ["data", about.data],
    ["split", fill(words.images, { split: splits[about.split] || about.split, images: count(facts.images) })],
    ["how", about.how],
    ["epoch", about.epoch],
    ["digest", about.digest],
    ["dataDigest", about.data_digest],
  ];
  const list = lines.flatMap(([key, value]) =>
    value ? [make("dt", {}, words.about[key]), make("dd", {}, value)] : []);
  const unknown = Object.entries(facts.unknown).map(([label, images]) => `${label} (${count(images)})`);
  const cautions = [];
  if (facts.used_for) cautions.push(words.cautions[facts.used_for]);
  if (facts.missing.length) cautions.push(fill(words.missing, { classes: listed(facts.missing) }));
  if (unknown.length) cautions.push(fill(words.unknown, { classes: listed(unknown) }));
  return [
    ...cautions.map(text => make("p", { class: "caution" }, text)),
    ...inFolds().map(text => make("p", {}, text)),
    make("div", { class: "cards" }, ...facts.headline.map(card)),
    make("dl", {}, ...list),
  ];
}

// The networks on the way from a parent to a shrunk model.
function shrinking() {
  const found = facts.shrinking;
  if (!found) return null;
  const values = found.curve.map(network => network.top1), title = words.figures.top1, axis = words.work;
  const [low, high] = [0, 1].map(edge => found.curve.map(network => network.interval[edge]));
  const labels = found.curve.map(network => percent(network.multiply_adds / found.curve[0].multiply_adds));
  const last = found.curve.length - 1, split = words.splits[/** @type {keyof ReportWords["splits"]} */ (found.split)];
  const text = fill(words.shrunk, { work: labels[last], parent: percent(values[0]), child: percent(values[last]) });
  const figure = chart({
    title, labels, axis, whole: true, chosen: last, lines: [{ colour: "first", values, low, high }], text,
  });
  const rows = found.curve.map((network, i) => [
    labels[i], count(network.multiply_adds), percent(values[i]), range({ low: low[i], high: high[i] }),
  ]);
  const note = joined(text, fill(words.shrunkNote, { split, images: count(found.images) }));
  const charts = make("div", { class: "charts" }, figure);
  return section("shrinking", note, charts, numbers(title, [axis, words.multiplyAdds, title, words.interval95], rows));
}

// The confusion matrix, and the images of one of its cells.
/** @param {number} row @param {number} column @param {HTMLElement} button */
function openGallery(row, column, button) {
  const pictures = facts.galleries[row + "," + column], total = Number(button.dataset.images);
  for (const other of document.querySelectorAll("[aria-pressed=true]")) other.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", "true");
  openCell = [row, column];
  const title = row === column ? fill(words.cellRight, { class: className(row) })
    : fill(words.cell, { true: className(row), predicted: className(column) });
  const sentence = pictures.length < total ? words.some : words.every;
  const note = fill(sentence, { shown: count(pictures.length), images: count(total) });
  const figures = pictures.map(found => make("figure", {}, picture(found.picture, found.name),
    make("figcaption", {}, percent(found.probability, 0), " ", make("span", {}, found.name))));
  document.getElementById("gallery")?.replaceChildren(
    make("h3", { tabindex: "-1" }, title), make("p", {}, note), make("div", { class: "pictures" }, ...figures),
  );
}

/** @param {number} row @param {number} column @param {number} images @param {string} text @param {string} [label] */
function galleryButton(row, column, images, text, label) {
  const button = make("button", {
    type: "button", "aria-pressed": "false", "data-cell": row + "," + column, "data-images": images,
  }, text);
  if (label) button.setAttribute("aria-label", label);
  button.addEventListener("click", () => {
    openGallery(row, column, button);
    document.getElementById("gallery")?.scrollIntoView({ block: "nearest" });
  });
  return button;
}

function matrix() {
  const images = new Map(facts.cells.map(([row, column, found]) => [row + "," + column, found]));
  const heads = facts.classes.map(label => make("th", { scope: "col", title: label }, make("span", {}, label)));
  const body = facts.classes.map((label, row) => make("tr", {},
    make("th", { scope: "row", title: label }, label),
    ...facts.classes.map((_, column) => make("td", {}, matrixCell(row, column, images.get(row + "," + column) ?? 0)))));
  const whole = make("table", { class: "matrix", "aria-label": words.sections.confusion },
    make("thead", {}, make("tr", {}, make("td"), ...heads)), make("tbody", {}, ...body));
  whole.style.setProperty("--cell", facts.classes.length <= 5 ? "4.5em" : "2.8em");
  return make("div", { class: "wide" }, whole);
}

/** @param {number} row @param {number} column @param {number} images */
function matrixCell(row, column, images) {
  const total = facts.per_class[row].images, part = images / total, right = row === column;
  if (!images) return make("span", {}, total ? "·" : "");
  const label = fill(words.cellLabel, { true: className(row), predicted: className(column), images: count(images) });
  const button = galleryButton(row, column, images, count(images), label);
  button.style.setProperty("--hue", right ? "var(--yes)" : "var(--no)");
  button.style.setProperty("--share", Math.round(right ? 70 * part : 8 + 62 * Math.sqrt(part)) + "%");
  return button;
}

/** The matrix for many classes, one pixel per cell. */
function confusionPicture() {
  const side = facts.classes.length, context = make("canvas", {
    width: side, height: side, role: "img", "aria-label": fill(words.mapLabel, { classes: side }),
  }).getContext("2d");
  if (!context) throw new TypeError("this browser draws on no canvas");
  for (const [row, column, images] of facts.cells) {
    context.fillStyle = row === column ? "#4a8df0" : "#e8672c";
    context.globalAlpha = Math.max(0.15, Math.sqrt(images / facts.per_class[row].images));
    context.fillRect(column, row, 1, 1);
  }
  return context.canvas;
}

function confusion() {
  const gallery = make("div", { class: "gallery", id: "gallery", "aria-live": "polite" }, make("p", {}, words.choose));
  const { pairs } = facts;
  if (!pairs) return section("confusion", words.matrixNote, make("div", { class: "columns" }, matrix(), gallery));
  const list = make("ol", { class: "pairs", "aria-label": words.pairs }, ...pairs.map(([row, column, images]) => {
    const text = fill(words.pair, { true: className(row), predicted: className(column), images: count(images) });
    return make("li", {}, galleryButton(row, column, images, text));
  }));
  return section("confusion", words.mapNote, make("div", { class: "columns" }, confusionPicture(), list, gallery));
}

// The most confident mistakes: some, and the rest on request.
const FIRST = 9;

/** @param {Mistake} found */
function mistake(found) {
  const { label, predicted, probability, overlay, neighbours } = found;
  const pictures = make("div", { class: "images" }, make("figure", {}, picture(found.picture, found.name)));
  if (overlay && facts.explained) {
    const text = fill(words.overlay, { method: words.methods[facts.explained], class: className(predicted) });
    pictures.append(make("figure", {}, picture(overlay, text)));
  }
  const answers = make("p", { class: "answers" },
    words.predicted, " ", make("b", { class: "wrong" }, className(predicted)), " ", percent(probability), make("br"),
    words.truly, " ", make("b", { class: "right" }, className(label)), " ", percent(found.true_probability));
  const box = make("article", { class: "case" }, pictures, answers, make("small", {}, found.name));
  if (!neighbours) return box;
  const near = neighbours.map(other => {
    const style = other.label === label ? "right" : other.label === predicted ? "wrong" : "";
    const caption = make("span", { class: style }, className(other.label));
    return make("figure", {}, picture(other.picture, className(other.label)),
      make("figcaption", {}, caption, " ", number(other.cosine)));
  });
  box.append(make("h4", {}, words.near), make("div", { class: "near" }, ...near));
  return box;
}

function mistakes() {
  if (!facts.wrong) return section("mistakes", words.noMistakes);
  const { neighbours, embedding, explained: method } = facts;
  const near = neighbours ? fill(words.neighboursNote, { images: count(neighbours), layer: embedding })
    : words.noNeighbours;
  const explained = method ? [words.explained[method], ...ensembleNote(), near] : [words.explain];
  const shown = fill(words.mistakesNote, { shown: count(facts.mistakes.length), wrong: count(facts.wrong) });
  const note = joined(shown, ...explained);
  const list = make("div", { class: "cases" }, ...facts.mistakes.slice(0, FIRST).map(mistake));
  const rest = facts.mistakes.slice(FIRST);
  if (!rest.length) return section("mistakes", note, list);
  const more = make("button", { type: "button", class: "more" }, fill(words.more, { count: rest.length }));
  more.addEventListener("click", () => {
    const cases = rest.map(mistake);
    list.append(...cases);
    cases[0].tabIndex = -1;
    cases[0].focus({ preventScroll: true });
    more.remove();
  });
  return section("mistakes", note, list, more);
}

// The table of classes.
/** @type {(keyof ReportWords["columns"])[]} */
const COLUMNS = ["name", "precision", "recall", "f1", "images"];

function sortedClasses() {
  const { column, ascending } = order, sign = ascending ? 1 : -1;
  if (column === null) return facts.per_class;
  return [...facts.per_class].sort((one, two) => sign * (column === "name"
    ? one.name.localeCompare(two.name, undefined, { numeric: true })
    : (one[column] ?? -1) - (two[column] ?? -1)));
}

function fillClasses() {
  const rows = sortedClasses().map(row => make("tr", {},
    make("th", { scope: "row" }, row.name), make("td", {}, rate(row.precision)), make("td", {}, rate(row.recall)),
    make("td", {}, decimal(row.f1)), make("td", {}, count(row.images))));
  document.querySelector(".classes tbody")?.replaceChildren(...rows);
  for (const [i, head] of document.querySelectorAll(".classes thead th").entries()) {
    const chosen = order.column === COLUMNS[i], arrow = order.ascending ? " ↑" : " ↓";
    if (chosen) head.setAttribute("aria-sort", order.ascending ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
    head.querySelector("span")?.replaceChildren(chosen ? arrow : "");
  }
}

function classes() {
  const heads = COLUMNS.map(column => {
    const button = make("button", { type: "button" }, words.columns[column], make("span", { "aria-hidden": "true" }));
    button.addEventListener("click", () => {
      order = { column, ascending: order.column === column ? !order.ascending : column === "name" };
      fillClasses();
    });
    return make("th", { scope: "col" }, button);
  });
  const whole = make("table", { class: "classes", "aria-label": words.sections.classes },
    make("thead", {}, make("tr", {}, ...heads)), make("tbody"));
  return section("classes", words.classesNote, make("div", { class: "wide" }, whole));
}

// Calibration.
/** Selective prediction by the reject threshold. @param {Selective} threshold */
function selection({ coverage, answered, precision, interval }) {
  if (!answered || precision === null || !interval) return words.thresholdNone;
  const [low, high] = interval;
  return fill(words.thresholdNote, {
    coverage: percent(coverage), answered: count(answered), images: count(facts.images),
    precision: percent(precision), interval: range({ low, high }),
  });
}

/** What is unfamiliar, and the accuracy on the rest. @param {Familiar} familiar */
function familiarity({ promised, unfamiliar, accuracy, interval }) {
  const told = fill(words.unfamiliarNote, { images: count(unfamiliar), promised: percent(promised) });
  if (accuracy === null || !interval) return told;
  const [low, high] = interval;
  return joined(told, fill(words.familiarNote, { accuracy: percent(accuracy), interval: range({ low, high }) }));
}

function calibration() {
  const { ece, nll, brier, fitted, temperature, threshold, familiar } = facts.calibration;
  const target = fitted?.threshold?.target;
  const source = fitted
    ? [fill(words.fitted, { images: count(fitted.images), split: words.splits[fitted.split] })] : [];
  const aim = target === undefined ? [] : [fill(words.target, { precision: percent(target) })];
  const rows = [
    ["ECE", percent(ece), words.eceNote],
    ["NLL", number(nll), words.nllNote],
    ["Brier", number(brier), words.brierNote],
    temperature === null
      ? [words.temperature, "–", words.noTemperature]
      : [words.temperature, number(temperature), joined(words.temperatureNote, ...source)],
    threshold
      ? [words.threshold, percent(threshold.threshold), joined(words.thresholdFirst, ...aim, selection(threshold))]
      : [words.threshold, "–", words.noThreshold],
    ...(familiar ? [[words.unfamiliar, percent(familiar.share), familiarity(familiar)]] : []),
  ];
  const list = make("dl", { class: "figures" }, ...rows.flatMap(([label, value, note]) =>
    [make("dt", {}, label), make("dd", {}, make("b", {}, value), " ", note)]));
  const note = joined(words.calibrationNote, fill(words.few, { images: facts.few }));
  return section("calibration", note, make("div", { class: "columns" }, reliability(), list));
}

// Robustness.
function robustness() {
  const found = facts.robustness;
  if (!found) return section("robustness", words.noRobustness);
  const curves = /** @type {[Disturbance, Point[]][]} */ (Object.entries(found.curves));
  const sentence = found.images < found.split_images ? words.robustSome : words.robustAll;
  const images = fill(sentence, { drawn: count(found.images), images: count(found.split_images) });
  const charts = make("div", { class: "charts" }, ...curves.map(([kind, points]) => disturbance(kind, points)));
  return section("robustness", joined(images, words.robustNote, ...ensembleNote()), charts);
}

/** @param {Disturbance} kind @param {Point[]} points */
function disturbance(kind, points) {
  const [title, axis, note] = [words.kinds[kind], words.kindAxes[kind], words.kindNotes[kind]];
  const labels = points.map(point => level(kind, point));
  const chosen = points.findIndex(point => point.plain);
  const worst = points.reduce((one, two) => (two.top1 < one.top1 ? two : one));
  const [low, high, values] = [points.map(p => p.low), points.map(p => p.high), points.map(p => p.top1)];
  const figure = chart({
    title, labels, axis, whole: true, chosen, lines: [{ colour: "first", values, low, high }],
    text: fill(words.robust, {
      kind: title, top1: percent(points[chosen].top1), worst: percent(worst.top1), level: level(kind, worst),
    }),
  });
  const rows = points.map((point, i) =>
    [labels[i] + (point.plain ? " " + words.plain : ""), percent(point.top1), range(point)]);
  figure.append(make("p", {}, note), numbers(title, [axis, words.figures.top1, words.interval95], rows));
  return figure;
}

/** @param {Disturbance} kind @param {Point} point */
function level(kind, point) {
  if (kind === "jpeg" && point.plain) return words.uncompressed;
  if (kind === "resolution" || kind === "blur") return percent(point.level, 0).replace("\u00a0", "");
  return (kind === "aspect" || kind === "brightness" ? "×" : "") + point.level;
}

function drawPage() {
  const title = fill(words.title, { model: facts.about.model }), languageButton = document.getElementById("switch");
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  document.title = title + " · vgglass";
  document.getElementById("title")?.replaceChildren(title);
  languageButton?.replaceChildren(words.other);
  languageButton?.setAttribute("lang", lang === "zh" ? "en" : "zh-CN");
  const sections = [
    shrinking(), training(), learningCurve(), confusion(), mistakes(), classes(), calibration(), robustness(),
    modelCard(),
  ];
  const parts = sections.filter(part => part !== null);
  const names = /** @type {Record<string, string>} */ (words.sections);
  const links = parts.map(part => make("a", { href: "#" + part.id }, names[part.id]));
  const main = document.getElementById("main");
  main?.classList.toggle("coarse", facts.coarse);
  main?.replaceChildren(make("nav", { "aria-label": words.contents }, ...links), ...summary(), ...parts);
  fillClasses();
  const button = openCell && document.querySelector(`[data-cell="${openCell}"]`);
  if (openCell && button instanceof HTMLElement) openGallery(...openCell, button);
}
document.getElementById("switch")?.addEventListener("click", () => {
  lang = lang === "en" ? "zh" : "en";
  words = translations[lang];
  remember(lang);
  drawPage();
});
drawPage();
