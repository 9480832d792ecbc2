// What the report says of the data behind the model: judged in folds, and whether more images would help.
/** @returns {string[]} */
function inFolds() {
  const { folds: found } = facts;
  if (!found) return [];
  const shares = found.accuracies.flat(), accuracies = range({ low: Math.min(...shares), high: Math.max(...shares) });
  const sentence = fill(found.networks ? words.foldsTrained : words.folds, { folds: found.folds, accuracies });
  return [found.repeats === 1 ? sentence : joined(sentence, fill(words.foldsRepeated, { repeats: found.repeats }))];
}

// Accuracy by training images a class, if `vgglass curve --out` wrote it beside the model.
function learningCurve() {
  const found = facts.curve;
  if (!found) return null;
  const { points, per_class: gains } = found, values = points.map(point => point.top1);
  const last = points.findLastIndex(point => !point.forecast);
  const labels = points.map(point => String(Number(point.images.toPrecision(4))));
  const [low, high] = found.gain.slice(1).map(gain => number(100 * gain, 1));
  const sentence = fill(words.curveGain, { low, high });
  const most = found.most === null ? [] : [fill(words.curveMost, { class: found.most })];
  const judged = fill(words.curveNote, { judged: count(found.judged), draws: found.draws, images: labels[last] });
  const axis = words.curveImages, title = words.figures.top1, gain = words.curvePoints;
  const figure = chart({
    title, labels, axis, whole: true, chosen: last, text: sentence,
    lines: [{ colour: "first", values, low: points.map(point => point.low), high: points.map(point => point.high) }],
  });
  const rows = points.map((point, i) => [
    labels[i] + (point.forecast ? " " + words.curveForecast : ""), percent(point.top1), range(point),
  ]);
  const classRows = [...gains].sort((one, two) => two.gain - one.gain).map(row => [
    row.name, number(100 * row.gain, 1), number(100 * row.low, 1) + "\u2060–\u2060" + number(100 * row.high, 1),
  ]);
  return section(
    "curve", joined(sentence, ...most, judged), make("div", { class: "charts" }, figure),
    numbers(title, [axis, title, words.interval95], rows),
    numbers(gain, [words.columns.name, gain, words.interval95], classRows),
  );
}

// The model's card: HTML in which no text is markup, and the parser runs no script.
function modelCard() {
  if (!facts.cards) return null;
  const parsed = new DOMParser().parseFromString(facts.cards[lang], "text/html");
  return section("card", words.cardNote, make("div", { class: "chart" }, ...parsed.body.childNodes));
}

// The training run.
/** @param {number | null} value */
const decimal = value => (value === null ? "–" : number(value));
/** @param {number | null} value */
const rate = value => (value === null ? "–" : percent(value));

function training() {
  const rows = facts.training;
  if (facts.fitted) return null;
  if (!rows) return section("training", words.noTraining);
  const { epoch } = facts.about, index = rows.findIndex(row => row.epoch === epoch), chosen = index < 0 ? null : index;
  const cells = rows.map(row => [
    row.epoch, decimal(row.train_loss), decimal(row.validation_loss),
    rate(row.train_accuracy), rate(row.validation_accuracy),
  ]);
  const splits = [words.splits.train, words.splits.validation];
  const head = [words.curves.loss, words.curves.accuracy].flatMap(kind => splits.map(split => kind + " · " + split));
  const marked = chosen === null ? [] : [fill(words.chosen, { epoch: epoch ?? "–" })];
  const note = joined(words.trainingNote, ...marked);
  const charts = make("div", { class: "charts" }, curve(rows, "loss", chosen), curve(rows, "accuracy", chosen));
  return section("training", note, charts, numbers(words.sections.training, [words.epoch, ...head], cells));
}

/** @param {Epoch[]} rows @param {"loss" | "accuracy"} kind @param {number | null} chosen */
function curve(rows, kind, chosen) {
  const train = rows.map(row => row[`train_${kind}`]), validation = rows.map(row => row[`validation_${kind}`]);
  const whole = kind === "accuracy", written = whole ? rate : decimal, title = words.curves[kind];
  const [trained, validated] = [train, validation].map(values => written(values[values.length - 1]));
  const figure = chart({
    title, whole, chosen, labels: rows.map(row => String(row.epoch)), axis: words.epoch,
    lines: [{ colour: "first", values: train }, { colour: "second", values: validation }],
    text: fill(words.curve, { curve: title, epochs: rows.length, train: trained, validation: validated }),
  });
  figure.append(legend([[words.splits.train, "blue"], [words.splits.validation, "orange"]]));
  return figure;
}
