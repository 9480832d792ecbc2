/** '{}' takes the parts in turn, '{1}' the one of that number; what a part holds is never filled in again.
 * @param {string} text @param {...(string | number)} parts */
function fill(text, ...parts) {
  let next = 0;
  return text.replace(/\{(\d*)\}/g, (_, index) => String(parts[index === "" ? next++ : index]));
}
/** An element; what its text holds is never markup.
 * @template {keyof HTMLElementTagNameMap} K @param {K} tag
 * @param {Record<string, string | number>} [attributes] @param {...(Node | string | number)} children */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children.map(child => (typeof child === "number" ? String(child) : child)));
  return element;
}
