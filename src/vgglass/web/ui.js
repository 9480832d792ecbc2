// Sentences and elements, for every page: a module on the server's, inlined into those that open from disk.

/** @typedef {Record<string, string | number>} Values of a sentence's placeholders, by name */
/** @typedef {string | number | boolean | null | undefined | ((event: Event) => void)} Attribute */

/** Replace '{name}' by the value of that name; placeholders in values are not replaced.
 * @param {string} text @param {Values} values */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** An element with attributes, listeners (on…) and children; text is never interpreted as markup.
 * @template {keyof HTMLElementTagNameMap} K @param {K} tag
 * @param {Record<string, Attribute>} [attributes] @param {...(Node | string | number)} children */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
  }
  element.append(...children.map(child => (typeof child === "number" ? String(child) : child)));
  return element;
}

/** One colour a kind of layer, on every page. */
export const KIND_COLOURS = {
  image: "#777777", conv: "#1a5fd0", batchnorm: "#0e8a8a", relu: "#b85c00", lrn: "#0e8a8a", maxpool: "#7a3fc2",
  avgpool: "#a0378c", linear: "#14713d", dropout: "#777777", softmax: "#b3261e",
};
