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
    const reason = facts.images === 1 ? words.oneImage : words.noInterval;
    return make("div", { class: "card" }, title, figure, make("span", {}, reason));
  }
  const bounds = share ? range({ low, high }) : number(low) + "\u2060–\u2060" + number(high);
  const interval = make("span", {}, fill(words.interval, bounds));
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
    ["architecture", fill(words.architecture, about.architecture, about.size, about.classes)],
    ["data", about.data],
    ["split", fill(words.images, splits[about.split] || about.split, count(facts.images))],
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
  if (facts.missing.length) cautions.push(fill(words.missing, listed(facts.missing)));
  if (unknown.length) cautions.push(fill(words.unknown, listed(unknown)));
  return [
    ...cautions.map(text => make("p", { class: "caution" }, text)),
    make("div", { class: "cards" }, ...facts.headline.map(card)),
    make("dl", {}, ...list),
  ];
}

// The training run.
/** @param {number | null} value */
const decimal = value => (value === null ? "–" : number(value));
/** @param {number | null} value */
const rate = value => (value === null ? "–" : percent(value));

function training() {
  const rows = facts.training;
  if (!rows) return section("training", words.noTraining);
  const { epoch } = facts.about, index = rows.findIndex(row => row.epoch === epoch), chosen = index < 0 ? null : index;
  const cells = rows.map(row => [
    row.epoch, decimal(row.train_loss), decimal(row.validation_loss),
    rate(row.train_accuracy), rate(row.validation_accuracy),
  ]);
  const splits = [words.splits.train, words.splits.validation];
  const head = [words.curves.loss, words.curves.accuracy].flatMap(kind => splits.map(split => kind + " · " + split));
  const note = chosen === null ? words.trainingNote : joined(words.trainingNote, fill(words.chosen, epoch ?? "–"));
  const charts = make("div", { class: "charts" }, curve(rows, "loss", chosen), curve(rows, "accuracy", chosen));
  return section("training", note, charts, numbers(words.sections.training, [words.epoch, ...head], cells));
}

/** @param {Epoch[]} rows @param {"loss" | "accuracy"} kind @param {number | null} chosen */
function curve(rows, kind, chosen) {
  const train = rows.map(row => row[`train_${kind}`]), validation = rows.map(row => row[`validation_${kind}`]);
  const whole = kind === "accuracy", written = whole ? rate : decimal, title = words.curves[kind];
  const last = [train, validation].map(values => written(values[values.length - 1]));
  const figure = chart({
    title, whole, chosen, labels: rows.map(row => String(row.epoch)), axis: words.epoch,
    lines: [{ colour: "first", values: train }, { colour: "second", values: validation }],
    text: fill(words.curve, title, rows.length, ...last),
  });
  figure.append(legend([[words.splits.train, "blue"], [words.splits.validation, "orange"]]));
  return figure;
}

// The confusion matrix, and the images of one of its cells.
/** @param {number} row @param {number} column @param {HTMLElement} button */
function openGallery(row, column, button) {
  const pictures = facts.galleries[row + "," + column], total = Number(button.dataset.images);
  for (const other of document.querySelectorAll("[aria-pressed=true]")) other.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-pressed", "true");
  openCell = [row, column];
  const title = fill(row === column ? words.cellRight : words.cell, className(row), className(column));
  const some = pictures.length < total;
  const note = some ? fill(words.some, count(pictures.length), count(total)) : fill(words.every, count(total));
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
  const label = fill(words.cellLabel, className(row), className(column), count(images));
  const button = galleryButton(row, column, images, count(images), label);
  button.style.setProperty("--hue", right ? "var(--yes)" : "var(--no)");
  button.style.setProperty("--share", Math.round(right ? 70 * part : 8 + 62 * Math.sqrt(part)) + "%");
  return button;
}

/** The matrix for many classes, one pixel per cell. */
function confusionPicture() {
  const side = facts.classes.length, context = make("canvas", {
    width: side, height: side, role: "img", "aria-label": fill(words.mapLabel, side),
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
    const text = fill(words.pair, className(row), className(column), count(images));
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
    const text = fill(words.overlay, words.methods[facts.explained], className(predicted));
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
  const near = neighbours ? fill(words.neighboursNote, count(neighbours), embedding) : words.noNeighbours;
  const explained = method ? [words.explained[method], ...ensembleNote(), near] : [words.explain];
  const note = joined(fill(words.mistakesNote, count(facts.mistakes.length), count(facts.wrong)), ...explained);
  const list = make("div", { class: "cases" }, ...facts.mistakes.slice(0, FIRST).map(mistake));
  const rest = facts.mistakes.slice(FIRST);
  if (!rest.length) return section("mistakes", note, list);
  const more = make("button", { type: "button", class: "more" }, fill(words.more, rest.length));
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
const PLOT = 210, COUNTS = 42; // heights of the diagram, and of the histogram below it

function reliability() {
  const bins = facts.calibration.bins.filter(bin => bin.images), most = Math.max(...bins.map(bin => bin.images));
  const right = WIDTH - RIGHT, floor = TOP + PLOT + 20 + COUNTS, height = TOP + PLOT + COUNTS + 60;
  const x = (/** @type {number} */ value) => LEFT + (right - LEFT) * value;
  const y = (/** @type {number} */ value) => TOP + PLOT * (1 - value);
  const text = fill(words.reliability, percent(facts.calibration.ece), count(facts.images));
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
    makeSvg("text", { x: LEFT + 2, y: floor - COUNTS - 5 }, fill(words.most, count(most))),
  );
  const head = [words.confidence, words.columns.images, words.meanConfidence, words.accuracy];
  const rows = bins.map(({ low, high, images, confidence, accuracy }) =>
    [percent(low, 0) + "–" + percent(high, 0), count(images), percent(confidence), percent(accuracy)]);
  const key = legend([[words.accuracy, "blue"], [words.meanConfidence, "orange"], [words.imagesBelow, "soft"]]);
  const title = words.reliabilityTitle;
  return make("figure", { class: "chart" }, make("h3", {}, title), svg, key, numbers(title, head, rows));
}

/** Selective prediction by the reject threshold. @param {Selective} threshold */
function selection({ coverage, answered, precision, interval }) {
  if (!answered || precision === null || !interval) return words.thresholdNone;
  const [low, high] = interval, counts = [count(answered), count(facts.images)];
  return fill(words.thresholdNote, percent(coverage), ...counts, percent(precision), range({ low, high }));
}

function calibration() {
  const { ece, nll, brier, fitted, temperature, threshold } = facts.calibration, target = fitted?.threshold?.target;
  const source = fitted ? [fill(words.fitted, count(fitted.images), words.splits[fitted.split])] : [];
  const aim = target === undefined ? [] : [fill(words.target, percent(target))];
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
  ];
  const list = make("dl", { class: "figures" }, ...rows.flatMap(([label, value, note]) =>
    [make("dt", {}, label), make("dd", {}, make("b", {}, value), " ", note)]));
  const note = joined(words.calibrationNote, fill(words.few, facts.few));
  return section("calibration", note, make("div", { class: "columns" }, reliability(), list));
}

// Robustness.
function robustness() {
  const found = facts.robustness;
  if (!found) return section("robustness", words.noRobustness);
  const curves = /** @type {[Disturbance, Point[]][]} */ (Object.entries(found.curves));
  const images = found.images < found.split_images
    ? fill(words.robustSome, count(found.images), count(found.split_images))
    : fill(words.robustAll, count(found.images));
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
    text: fill(words.robust, title, percent(points[chosen].top1), percent(worst.top1), level(kind, worst)),
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
  const title = fill(words.title, facts.about.model), languageButton = document.getElementById("switch");
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  document.title = title + " · vgglass";
  document.getElementById("title")?.replaceChildren(title);
  languageButton?.replaceChildren(words.other);
  languageButton?.setAttribute("lang", lang === "zh" ? "en" : "zh-CN");
  const parts = [training(), confusion(), mistakes(), classes(), calibration(), robustness()];
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
