// What the report says of the data behind the model: judged in folds, and whether more images would help.
/** @returns {string[]} */
function inFolds() {
  const { folds: found } = facts;
  if (!found) return [];
  const shares = found.accuracies.flat(), accuracies = range({ low: Math.min(...shares), high: Math.max(...shares) });
  const sentence = fill(words.folds, { folds: found.folds, accuracies });
  return [found.repeats === 1 ? sentence : joined(sentence, fill(words.foldsRepeated, { repeats: found.repeats }))];
}

// Accuracy by training images a class, if `vgglass curve --out` wrote it beside the model.
function learningCurve() {
  const found = facts.curve;
  if (!found) return null;
  const { points, per_class: gains } = found, values = points.map(point => point.top1);
  const last = points.findLastIndex(point => !point.forecast), labels = points.map(point => point.images.toFixed(0));
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
