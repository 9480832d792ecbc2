// What the page says, in English and Chinese: words.json holds all of it.

/** @type {Record<string, any>} */
let both = {};
/** The words of the language that is shown. @type {Record<string, any>} */
export let say = {};
export let lang = "en";

export async function load() {
  both = await (await fetch("static/words.json")).json();
}

/** @param {string} language 'en' or 'zh' */
export function speak(language) {
  lang = language in both ? language : "en";
  say = both[lang];
  localStorage.setItem("language", lang);
  document.documentElement.lang = lang === "zh" ? "zh-CN" : "en";
  for (const element of all("[data-say]")) element.textContent = say[element.dataset.say];
}

/** The language to begin with: the one that was chosen last, else the browser's. */
export const usual = () => localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");

/** @param {string} text with {} for each value @param {...any} values */
export const fill = (text, ...values) => values.reduce((filled, value) => filled.replace("{}", () => value), text);

/** Four digits, no exponents that a person must read twice. @param {number | null} x */
export function number(x) {
  if (x === null || x === undefined) return "–";
  if (Math.abs(x) >= 1e4 && Math.abs(x) < 1e9) return Math.round(x).toLocaleString("en");
  return String(Number(x.toPrecision(4))).replace("-", "−");
}

/** Sentences one after another. @param {...string} sentences */
export const together = (...sentences) => sentences.filter(Boolean).join(lang === "zh" ? "" : " ");

/** @param {number} share */
export const percent = share => (100 * share).toFixed(1) + (lang === "zh" ? "%" : " %");

/** @param {number[]} shape W, H, C */
export const sides = shape => shape.join("×");

/** An element with attributes and children; text is text, whatever it holds.
 * @param {string} tag @param {Record<string, any>} [attributes] @param {...(Node | string)} children @returns {any} */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** @param {string} selector @returns {NodeListOf<HTMLElement>} */
export const all = selector => document.querySelectorAll(selector);

/** @param {string} id @returns {any} */
export const at = id => document.getElementById(id);
