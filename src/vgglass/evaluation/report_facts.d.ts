// What report.py writes into the page, for the type check of report.js and report_charts.js.

declare const fill: typeof import("../web/ui.js").fill;
declare const make: typeof import("../web/ui.js").make;

type ReportWords = typeof import("../locale/en/report.json");
type Language = "en" | "zh";
type Translations = Record<Language, ReportWords>;
/** Rows and columns of the confusion matrix, and the images of the cell. */
type ConfusionCell = [row: number, column: number, images: number];

interface Bounds {
  low: number;
  high: number;
}

/** A figure over all images; null where it is undefined, as is its interval. */
interface Headline {
  key: keyof ReportWords["figures"];
  value: number | null;
  low: number | null;
  high: number | null;
}

interface Network {
  multiply_adds: number;
  top1: number;
  interval: [low: number, high: number];
}

interface Epoch {
  epoch: number;
  train_loss: number | null;
  train_accuracy: number | null;
  validation_loss: number | null;
  validation_accuracy: number | null;
}

/** An image with its answer; pictures are data URIs. */
interface Judged {
  picture: string;
  name: string;
  predicted: number;
  probability: number;
}

interface Mistake extends Judged {
  label: number;
  true_probability: number;
  overlay?: string;
  neighbours?: { picture: string; label: number; cosine: number }[];
}

interface ClassRow {
  name: string;
  precision: number | null;
  recall: number | null;
  f1: number | null;
  images: number;
}

interface Bin extends Bounds {
  images: number;
  confidence: number;
  accuracy: number;
}

interface Selective {
  threshold: number;
  answered: number;
  coverage: number;
  precision: number | null;
  interval: [number, number] | null;
}

interface Familiar {
  promised: number;
  unfamiliar: number;
  share: number;
  accuracy: number | null;
  interval: [number, number] | null;
}

interface CalibrationFacts {
  ece: number;
  nll: number;
  brier: number;
  bins: Bin[];
  temperature: number | null;
  threshold: Selective | null;
  familiar: Familiar | null;
  fitted: { images: number; split: keyof ReportWords["splits"]; threshold?: { target: number } | null } | null;
}

type Disturbance = keyof ReportWords["kinds"];

/** Accuracy at one level of a disturbance; `plain` where nothing is disturbed. */
interface Point extends Bounds {
  level: number;
  top1: number;
  plain: boolean;
}

interface Facts {
  about: {
    model: string;
    others: string[];
    architecture: string;
    size: number;
    classes: number;
    data?: string;
    data_digest?: string;
    digest: string;
    epoch: number | null;
    how?: string;
    split: string;
  };
  images: number;
  /** Where each image was answered by a head that was fitted, or a network that was trained, without it. */
  folds: { folds: number; repeats: number; accuracies: number[][]; networks: boolean } | null;
  used_for: keyof ReportWords["cautions"] | "";
  missing: string[];
  unknown: Record<string, number>;
  classes: string[];
  headline: Headline[];
  /** Of a shrunk model: the networks on the way from its parent, which is the first. */
  shrinking: { split: string; images: number; curve: Network[] } | null;
  /** Whether its head was fitted at once, without epochs, or no epoch was chosen. */
  fitted: boolean;
  training: Epoch[] | null;
  /** Accuracy by training images a class; gains are of twice as many: the likeliest, and the ends of its interval. */
  curve: {
    points: (Bounds & { images: number; top1: number; forecast: boolean })[];
    gain: [number, number, number];
    per_class: (Bounds & { name: string; gain: number })[];
    most: string | null;
    judged: number;
    draws: number;
  } | null;
  cells: ConfusionCell[];
  pairs: ConfusionCell[] | null;
  galleries: Record<string, Judged[]>;
  wrong: number;
  mistakes: Mistake[];
  explained: keyof ReportWords["methods"] | null;
  embedding: string;
  neighbours: number;
  per_class: ClassRow[];
  calibration: CalibrationFacts;
  few: number;
  robustness: { images: number; split_images: number; curves: Record<Disturbance, Point[]> } | null;
  coarse: boolean;
  /** The model's card as HTML; null where several models or none answered. */
  cards: Record<Language, string> | null;
}
