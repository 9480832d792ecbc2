// The page's texts in English and Chinese, served from locale/, and number formatting.
import { get, patch } from "./store.js";
import { fill } from "./ui.js";

/**
 * @typedef {object} OfViews texts of views, in files of their own
 * @property {typeof import("../../locale/en/course.json")} course
 * @property {typeof import("../../locale/en/watch.json")} watch
 * @property {typeof import("../../locale/en/teach.json")} teach
 */
/** @typedef {typeof import("../../locale/en/page.json") & OfViews} Words */
/** @typedef {"en" | "zh"} Language */
/** @typedef {keyof Words["kinds"]} Kind of a layer */
/** @typedef {keyof Words["methods"]} Method of attribution */

/** @type {Record<Language, Words>} */
let translations;
/** Texts of the current language. @type {Words} */
export let words;

export async function loadWords() {
  translations = await (await fetch("static/words.json")).json();
}

/** @param {string} language an unknown one is English */
export function setLanguage(language) {
  const known = language === "zh" ? "zh" : "en";
  words = translations[known];
  localStorage.setItem("language", known);
  document.documentElement.lang = known === "zh" ? "zh-CN" : "en";
  patch({ language: known });
}

/** The initial language: the last chosen one, else the browser's. */
export const preferredLanguage = () =>
  localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");

/** Four significant digits, exponents only for extreme values. @param {number | null | undefined} x */
export function number(x) {
  if (x === null || x === undefined) return "–";
  if (Math.abs(x) >= 1e4 && Math.abs(x) < 1e9) return Math.round(x).toLocaleString("en");
  return String(Number(x.toPrecision(4))).replace("-", "−");
}

/** Nine significant digits, which identify a float32. @param {number | null} x */
export const exact = x => (x === null ? "–" : String(Number(x.toPrecision(9))).replace("-", "−"));

/** Join sentences. @param {...string} sentences */
export const joined = (...sentences) => sentences.filter(Boolean).join(get().language === "zh" ? "" : " ");

/** @param {number} share */
export const percent = share => (100 * share).toFixed(1) + (get().language === "zh" ? "%" : " %");

/** @param {readonly number[]} shape W, H, C */
export const sides = shape => shape.join("×");

/** A sample's name for a person. @param {string} name */
export const sampleName = name =>
  name in words.sampleNames
    ? words.sampleNames[/** @type {keyof typeof words.sampleNames} */ (name)]
    : fill(words.digit, { digit: name.split("-")[1] });
