"use strict";
const read = id => JSON.parse(document.getElementById(id).textContent);
const facts = read("facts"), words = read("words"), REMEMBERED = "vgglass.lang";
// A browser may keep no memory for files; the page then opens in the browser's language.
const remembered = () => { try { return localStorage.getItem(REMEMBERED); } catch { return null; } };
const remember = value => { try { localStorage.setItem(REMEMBERED, value); } catch { /* next time the browser's language */ } };
let lang = remembered() || (navigator.language.startsWith("zh") ? "zh" : "en"), say = words[lang];
let order = { column: null, up: true }, opened = worst();
// The cell that is shown at first: the pair of classes confused most often.
function worst() {
  const wrong = (facts.pairs ?? facts.cells).filter(([row, column]) => row !== column);
  return wrong.length ? wrong.reduce((one, two) => two[2] > one[2] ? two : one).slice(0, 2) : null;
}
// '{}' takes the parts in turn, '{1}' the one of that number; what a part holds is never filled in again.
const fill = (text, ...parts) => { let turn = 0; return text.replace(/\{(\d*)\}/g, (_, number) => parts[number === "" ? turn++ : number]); };
const count = number => number.toLocaleString("en");
const percent = (share, digits = 1) => (100 * share).toFixed(digits) + (lang === "zh" ? "%" : "\u00a0%");
const number = (value, digits = 3) => value.toFixed(digits);
const range = row => (100 * row.low).toFixed(1) + "\u2060–\u2060" + percent(row.high);
const joined = (...sentences) => sentences.join(lang === "zh" ? "" : " ");
const first = () => facts.about.others.length ? [say.firstModel] : [];
const listed = names => names.join(lang === "zh" ? "、" : ", ");
const name = index => facts.classes[index];
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
function table(caption, head, rows) {
  const cells = (tag, row, scope) => row.map((cell, i) => i || tag === "th" ? make(tag, tag === "th" ? { scope } : {}, cell) : make("th", { scope: "row" }, cell));
  const body = rows.map(row => make("tr", {}, ...cells("td", row)));
  return make("div", { class: "wide" }, make("table", { "aria-label": caption }, make("thead", {}, make("tr", {}, ...cells("th", head, "col"))), make("tbody", {}, ...body)));
}
const numbers = (caption, head, rows) => make("details", {}, make("summary", {}, say.numbers), table(caption, head, rows));
const legend = entries => make("div", { class: "legend" }, ...entries.map(([text, colour]) => { const key = make("span", {}, text); key.style.setProperty("--key", `var(--${colour})`); return key; }));
const section = (id, note, ...children) => make("section", { id, "aria-labelledby": id + "-title" }, make("h2", { id: id + "-title" }, say.sections[id]), ...(note ? [make("p", {}, note)] : []), ...children);
const picture = (source, text) => make("img", { src: source, alt: text, loading: "lazy" });

// The head: figures, what they were reckoned from, what is to be known of them.
const SHARES = ["top1", "top5", "balanced_accuracy"];  // the others are no shares of anything
function card(row) {
  const title = make("span", {}, say.figures[row.key]), share = SHARES.includes(row.key);
  if (row.value === null) return make("div", { class: "card" }, title, make("b", {}, "–"), make("span", {}, say.undefined));
  const between = row.low === null ? null : share ? range(row) : number(row.low) + "\u2060–\u2060" + number(row.high);
  const interval = between ? [rangeBar(row), make("span", {}, fill(say.interval, between))] : [make("span", {}, facts.images === 1 ? say.oneImage : say.noInterval)];
  return make("div", { class: "card" }, title, make("b", {}, share ? percent(row.value) : number(row.value)), ...interval);
}
function rangeBar(row) {
  const span = make("i"), mark = make("u"), bar = make("div", { class: "range", "aria-hidden": "true" }, span, mark);
  span.style.left = 100 * row.low + "%";
  span.style.width = 100 * (row.high - row.low) + "%";
  mark.style.left = 100 * row.value + "%";
  return bar;
}
function summary() {
  const about = facts.about, lines = [];
  const add = (key, value) => { if (value) lines.push(make("dt", {}, say.about[key]), make("dd", {}, value)); };
  add("model", [about.model, ...about.others].join(" + "));
  add("architecture", fill(say.architecture, about.architecture, about.size, about.classes));
  add("data", about.data);
  add("split", fill(say.images, say.splits[about.split] || about.split, count(facts.images)));
  add("how", about.how);
  add("epoch", about.epoch);
  add("digest", about.digest);
  add("dataDigest", about.data_digest);
  const cautions = [];
  if (facts.used_for) cautions.push(say.cautions[facts.used_for]);
  if (facts.missing.length) cautions.push(fill(say.missing, listed(facts.missing)));
  const unknown = Object.entries(facts.unknown);
  if (unknown.length) cautions.push(fill(say.unknown, listed(unknown.map(([name, images]) => `${name} (${count(images)})`))));
  return [...cautions.map(text => make("p", { class: "caution" }, text)), make("div", { class: "cards" }, ...facts.headline.map(card)), make("dl", {}, ...lines)];
}

// Charts. Steps stand at equal distances; lines: { label, colour, values, low, high }, 0 or more of `marks` dashed.
const WIDTH = 330, HEIGHT = 211, LEFT = 40, RIGHT = 8, TOP = 10, BOTTOM = 40;
function scale(values, whole) {
  if (whole) return { low: 0, high: 1, step: 0.25 };
  const most = Math.max(...values), power = 10 ** Math.floor(Math.log10(most || 1)), step = [0.2, 0.5, 1, 2].map(part => part * power).find(part => most / part <= 5) || power * 2;
  return { low: 0, high: Math.ceil(most / step) * step || 1, step };
}
function chart({ title, labels, axis, lines, whole, chosen, text }) {
  const shown = lines.flatMap(line => line.values).filter(value => value !== null), { low, high, step } = scale(shown, whole);
  const x = i => LEFT + 8 + (WIDTH - LEFT - RIGHT - 16) * (labels.length > 1 ? i / (labels.length - 1) : 0.5);
  const y = value => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (Math.min(Math.max(value, low), high) - low) / (high - low));
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": text });
  for (let value = low; value <= high + step / 2; value += step) {
    svg.append(draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    svg.append(draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, whole ? percent(value, 0) : String(Number(value.toPrecision(3)))));
  }
  const every = Math.ceil(labels.length / (Math.max(...labels.map(label => label.length)) > 4 ? 7 : 8));
  labels.forEach((label, i) => { if (i % every === 0) svg.append(draw("text", { x: x(i), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, label)); });
  svg.append(draw("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, axis));
  if (chosen !== undefined && chosen !== null) svg.append(draw("line", { class: "chosen", x1: x(chosen), x2: x(chosen), y1: TOP, y2: HEIGHT - BOTTOM }));
  for (const line of lines) {
    const points = line.values.map((value, i) => value === null ? null : [x(i), y(value)]);
    if (line.low) line.low.forEach((bottom, i) => svg.append(draw("line", { class: "bar " + line.colour, x1: x(i), x2: x(i), y1: y(bottom), y2: y(line.high[i]) })));
    svg.append(draw("polyline", { class: "path " + line.colour, points: points.filter(Boolean).map(point => point.join(",")).join(" ") }));
    if (labels.length <= 40) points.forEach((point, i) => { if (point) svg.append(draw("circle", { class: `dot ${line.colour}${i === chosen ? " full" : ""}`, cx: point[0], cy: point[1], r: line.low ? 3.5 : 2.2 })); });
  }
  return make("figure", { class: "chart" }, make("h3", {}, title), svg);
}
function training() {
  if (!facts.training) return section("training", say.noTraining);
  const rows = facts.training, labels = rows.map(row => String(row.epoch)), chosen = rows.findIndex(row => row.epoch === facts.about.epoch);
  const one = kind => {
    const lines = [["train", "first"], ["validation", "second"]].map(([split, colour]) => ({ colour, values: rows.map(row => row[`${split}_${kind}`]) }));
    const last = rows[rows.length - 1], show = value => value === null ? "–" : kind === "accuracy" ? percent(value) : number(value);
    const text = fill(say.curve, say.curves[kind], rows.length, show(last["train_" + kind]), show(last["validation_" + kind]));
    const drawn = chart({ title: say.curves[kind], labels, axis: say.epoch, lines, whole: kind === "accuracy", chosen: chosen < 0 ? null : chosen, text });
    drawn.append(legend([[say.splits.train, "blue"], [say.splits.validation, "orange"]]));
    return drawn;
  };
  const cells = rows.map(row => [row.epoch, ...["train_loss", "validation_loss"].map(key => row[key] === null ? "–" : number(row[key])), ...["train_accuracy", "validation_accuracy"].map(key => row[key] === null ? "–" : percent(row[key]))]);
  const head = [say.epoch, ...["loss", "accuracy"].flatMap(kind => ["train", "validation"].map(split => say.curves[kind] + " · " + say.splits[split]))];
  return section("training", chosen < 0 ? say.trainingNote : joined(say.trainingNote, fill(say.chosen, facts.about.epoch)), make("div", { class: "charts" }, one("loss"), one("accuracy")), numbers(say.sections.training, head, cells));
}

// The confusion matrix, and the images of one of its cells.
function gallery() {
  const box = make("div", { class: "gallery", id: "gallery", "aria-live": "polite" });
  box.append(make("p", {}, say.choose));
  return box;
}
function show(row, column, button) {
  const pictures = facts.galleries[row + "," + column], total = Number(button.dataset.images), box = document.getElementById("gallery");
  document.querySelectorAll("[aria-pressed=true]").forEach(other => other.setAttribute("aria-pressed", "false"));
  button.setAttribute("aria-pressed", "true");
  opened = [row, column];
  const title = make("h3", { tabindex: "-1" }, fill(row === column ? say.cellRight : say.cell, name(row), name(column)));
  const note = pictures.length < total ? fill(say.some, count(pictures.length), count(total)) : fill(say.every, count(total));
  const shown = pictures.map(found => make("figure", {}, picture(found.picture, found.name), make("figcaption", {}, percent(found.probability, 0), " ", make("span", {}, found.name))));
  box.replaceChildren(title, make("p", {}, note), make("div", { class: "pictures" }, ...shown));
}
function pressable(row, column, images, text, label) {
  const button = make("button", { type: "button", "aria-pressed": "false", "data-cell": row + "," + column, "data-images": images }, text);
  if (label) button.setAttribute("aria-label", label);
  button.addEventListener("click", () => { show(row, column, button); document.querySelector("#gallery").scrollIntoView({ block: "nearest" }); });
  return button;
}
function matrix() {
  const totals = facts.per_class.map(row => row.images), images = new Map(facts.cells.map(([row, column, images]) => [row + "," + column, images]));
  const corner = make("td", {}, ""), head = make("tr", {}, corner, ...facts.classes.map(label => make("th", { scope: "col", title: label }, make("span", {}, label))));
  const body = facts.classes.map((label, row) => {
    const line = make("tr", {}, make("th", { scope: "row", title: label }, label));
    facts.classes.forEach((other, column) => {
      const found = images.get(row + "," + column);
      if (!found) { line.append(make("td", {}, make("span", {}, totals[row] ? "·" : ""))); return; }
      const share = found / totals[row], button = pressable(row, column, found, count(found), fill(say.cellLabel, label, other, count(found)));
      button.style.setProperty("--hue", row === column ? "var(--yes)" : "var(--no)");
      button.style.setProperty("--share", Math.round(row === column ? 70 * share : 8 + 62 * Math.sqrt(share)) + "%");
      line.append(make("td", {}, button));
    });
    return line;
  });
  const whole = make("table", { class: "matrix", "aria-label": say.sections.confusion }, make("thead", {}, head), make("tbody", {}, ...body));
  whole.style.setProperty("--cell", facts.classes.length <= 5 ? "4.5em" : "2.8em");
  return make("div", { class: "wide" }, whole);
}
function map() {
  const side = facts.classes.length, canvas = make("canvas", { width: side, height: side, role: "img", "aria-label": fill(say.mapLabel, side) });
  const totals = facts.per_class.map(row => row.images), context = canvas.getContext("2d");
  for (const [row, column, images] of facts.cells) {
    context.fillStyle = row === column ? "#4a8df0" : "#e8672c";
    context.globalAlpha = Math.max(0.15, Math.sqrt(images / totals[row]));
    context.fillRect(column, row, 1, 1);
  }
  return canvas;
}
function pairs() {
  const list = make("ol", { class: "pairs", "aria-label": say.pairs });
  for (const [row, column, images] of facts.pairs) list.append(make("li", {}, pressable(row, column, images, fill(say.pair, name(row), name(column), count(images)))));
  return list;
}
function confusion() {
  const small = facts.pairs === null;
  return section("confusion", small ? say.matrixNote : say.mapNote, make("div", { class: "beside" }, ...(small ? [matrix()] : [map(), pairs()]), gallery()));
}

// The most confident mistakes: some, and the rest on request.
const FIRST = 9;
function mistake(found) {
  const shown = make("div", { class: "shown" }, make("figure", {}, picture(found.picture, found.name)));
  if (found.overlay) shown.append(make("figure", {}, picture(found.overlay, fill(say.overlay, say.methods[facts.explained], name(found.predicted)))));
  const line = (key, index, share, style) => [say[key], " ", make("b", { class: style }, name(index)), " ", percent(share)];
  const box = make("article", { class: "case" }, shown, make("p", { class: "said" }, ...line("predicted", found.predicted, found.probability, "wrong"), make("br"), ...line("truly", found.label, found.true_probability, "right")), make("small", {}, found.name));
  if (found.neighbours) {
    const near = found.neighbours.map(other => make("figure", {}, picture(other.picture, name(other.label)), make("figcaption", {}, make("span", { class: other.label === found.label ? "right" : other.label === found.predicted ? "wrong" : "" }, name(other.label)), " ", number(other.cosine))));
    box.append(make("h4", {}, say.near), make("div", { class: "near" }, ...near));
  }
  return box;
}
function mistakes() {
  if (!facts.wrong) return section("mistakes", say.noMistakes);
  const note = fill(say.mistakesNote, count(facts.mistakes.length), count(facts.wrong));
  const explained = facts.explained ? [say.explained[facts.explained], ...first(), facts.neighbours ? fill(say.neighboursNote, count(facts.neighbours), facts.embedding) : say.noNeighbours] : [say.explain];
  const list = make("div", { class: "cases" }, ...facts.mistakes.slice(0, FIRST).map(mistake)), rest = facts.mistakes.slice(FIRST);
  if (!rest.length) return section("mistakes", joined(note, ...explained), list);
  const more = make("button", { type: "button", class: "more" }, fill(say.more, rest.length));
  more.addEventListener("click", () => { const cases = rest.map(mistake); list.append(...cases); cases[0].tabIndex = -1; cases[0].focus({ preventScroll: true }); more.remove(); });
  return section("mistakes", joined(note, ...explained), list, more);
}

// The table of classes.
const COLUMNS = ["name", "precision", "recall", "f1", "images"];
function sorted() {
  if (order.column === null) return facts.per_class;
  const key = order.column, sign = order.up ? 1 : -1;
  return [...facts.per_class].sort((one, two) => sign * (key === "name" ? one.name.localeCompare(two.name, undefined, { numeric: true }) : (one[key] ?? -1) - (two[key] ?? -1)));
}
function fillClasses() {
  const share = value => value === null ? "–" : percent(value);
  const rows = sorted().map(row => make("tr", {}, make("th", { scope: "row" }, row.name), make("td", {}, share(row.precision)), make("td", {}, share(row.recall)), make("td", {}, row.f1 === null ? "–" : number(row.f1)), make("td", {}, count(row.images))));
  document.querySelector(".classes tbody").replaceChildren(...rows);
  document.querySelectorAll(".classes thead th").forEach((head, i) => {
    const chosen = order.column === COLUMNS[i];
    if (chosen) head.setAttribute("aria-sort", order.up ? "ascending" : "descending"); else head.removeAttribute("aria-sort");
    head.querySelector("span").textContent = chosen ? (order.up ? " ↑" : " ↓") : "";
  });
}
function classes() {
  const head = COLUMNS.map(column => {
    const button = make("button", { type: "button" }, say.columns[column], make("span", { "aria-hidden": "true" }));
    button.addEventListener("click", () => { order = { column, up: order.column === column ? !order.up : column === "name" }; fillClasses(); });
    return make("th", { scope: "col" }, button);
  });
  return section("classes", say.classesNote, make("div", { class: "wide" }, make("table", { class: "classes", "aria-label": say.sections.classes }, make("thead", {}, make("tr", {}, ...head)), make("tbody"))));
}

// Calibration.
function reliability() {
  const bins = facts.calibration.bins, most = Math.max(...bins.map(bin => bin.images)), side = WIDTH - LEFT - RIGHT, plot = 210, below = 42, height = TOP + plot + below + 60;
  const x = value => LEFT + side * value, y = value => TOP + plot * (1 - value), floor = TOP + plot + 20 + below;
  const text = fill(say.reliability, percent(facts.calibration.ece), count(facts.images));
  const svg = draw("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": text });
  for (const value of [0, 0.25, 0.5, 0.75, 1]) {
    svg.append(draw("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }), draw("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, percent(value, 0)));
    svg.append(draw("text", { x: x(value), y: floor + 14, "text-anchor": value === 1 ? "end" : value ? "middle" : "start" }, percent(value, 0)));
  }
  for (const bin of bins) {
    if (!bin.images) continue;
    const left = x(bin.low) + 1, width = x(bin.high) - x(bin.low) - 2, tall = Math.max(1, below * bin.images / most);
    svg.append(draw("rect", { class: "level" + (bin.images < facts.few ? " few" : ""), x: left, width, y: y(bin.accuracy), height: plot + TOP - y(bin.accuracy) }));
    svg.append(draw("line", { class: "said-so", x1: left, x2: left + width, y1: y(bin.confidence), y2: y(bin.confidence) }));
    svg.append(draw("rect", { class: "counts", x: left, width, y: floor - tall, height: tall }));
  }
  svg.append(draw("line", { class: "chosen", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }), draw("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: floor, y2: floor }));
  svg.append(draw("text", { x: LEFT + side / 2, y: height - 4, "text-anchor": "middle" }, say.confidence));
  svg.append(draw("text", { x: LEFT + 2, y: floor - below - 5 }, fill(say.most, count(most))));
  const rows = bins.filter(bin => bin.images).map(bin => [percent(bin.low, 0) + "–" + percent(bin.high, 0), count(bin.images), percent(bin.confidence), percent(bin.accuracy)]);
  return make("figure", { class: "chart" }, make("h3", {}, say.reliabilityTitle), svg, legend([[say.accuracy, "blue"], [say.meanConfidence, "orange"], [say.imagesBelow, "soft"]]), numbers(say.reliabilityTitle, [say.confidence, say.columns.images, say.meanConfidence, say.accuracy], rows));
}
function answered(threshold) {
  if (!threshold.answered) return say.thresholdNone;
  const [low, high] = threshold.interval;
  return fill(say.thresholdNote, percent(threshold.coverage), count(threshold.answered), count(facts.images), percent(threshold.precision), range({ low, high }));
}
function calibration() {
  const found = facts.calibration, from = found.fitted, threshold = found.threshold, rows = [["ECE", percent(found.ece), say.eceNote], ["NLL", number(found.nll), say.nllNote], ["Brier", number(found.brier), say.brierNote]];
  if (found.temperature === null) rows.push([say.temperature, "–", say.noTemperature]);
  else rows.push([say.temperature, number(found.temperature), joined(say.temperatureNote, ...(from ? [fill(say.fitted, count(from.images), say.splits[from.split])] : []))]);
  if (!threshold) rows.push([say.threshold, "–", say.noThreshold]);
  else rows.push([say.threshold, percent(threshold.threshold), joined(say.thresholdFirst, ...(from?.threshold ? [fill(say.target, percent(from.threshold.target))] : []), answered(threshold))]);
  const list = make("dl", { class: "figures" }, ...rows.flatMap(([label, value, note]) => [make("dt", {}, label), make("dd", {}, make("b", {}, value), " ", note)]));
  return section("calibration", joined(say.calibrationNote, fill(say.few, facts.few)), make("div", { class: "beside" }, reliability(), list));
}

// Robustness.
function robustness() {
  const found = facts.robustness;
  if (!found) return section("robustness", say.noRobustness);
  const drawn = Object.entries(found.curves).map(([kind, points]) => {
    const [title, axis, note] = say.kinds[kind], labels = points.map(point => level(kind, point)), chosen = points.findIndex(point => point.plain);
    const worst = points.reduce((one, two) => two.top1 < one.top1 ? two : one);
    const text = fill(say.robust, title, percent(points[chosen].top1), percent(worst.top1), level(kind, worst));
    const box = chart({ title, labels, axis, whole: true, chosen, text, lines: [{ colour: "first", values: points.map(point => point.top1), low: points.map(point => point.low), high: points.map(point => point.high) }] });
    box.append(make("p", {}, note), numbers(title, [axis, say.figures.top1, say.interval95], points.map((point, i) => [labels[i] + (point.plain ? " " + say.plain : ""), percent(point.top1), range(point)])));
    return box;
  });
  const few = found.images < found.split_images ? fill(say.robustSome, count(found.images), count(found.split_images)) : fill(say.robustAll, count(found.images));
  return section("robustness", joined(few, say.robustNote, ...first()), make("div", { class: "charts" }, ...drawn));
}
function level(kind, point) {
  if (kind === "jpeg" && point.plain) return say.uncompressed;
  if (kind === "resolution" || kind === "blur") return percent(point.level, 0).replace("\u00a0", "");
  return (kind === "aspect" || kind === "brightness" ? "×" : "") + point.level;
}

function page() {
  say = words[lang];
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  document.title = fill(say.title, facts.about.model) + " · vgglass";
  document.getElementById("title").textContent = fill(say.title, facts.about.model);
  document.getElementById("switch").textContent = say.other;
  document.getElementById("switch").lang = lang === "zh" ? "en" : "zh-CN";
  const parts = [training(), confusion(), mistakes(), classes(), calibration(), robustness()];
  const links = parts.map(part => make("a", { href: "#" + part.id }, say.sections[part.id]));
  const main = document.getElementById("main");
  main.classList.toggle("coarse", facts.coarse);
  main.replaceChildren(make("nav", { "aria-label": say.contents }, ...links), ...summary(), ...parts);
  fillClasses();
  if (opened) { const button = document.querySelector(`[data-cell="${opened}"]`); show(...opened, button); }
}
document.getElementById("switch").addEventListener("click", () => { lang = lang === "en" ? "zh" : "en"; remember(lang); page(); });
page();
