/** Replace '{}' by the parts in order, '{1}' by the part of that index; placeholders in parts are not replaced.
 * @param {string} text @param {...(string | number)} parts */
function fill(text, ...parts) {
  let next = 0;
  return text.replace(/\{(\d*)\}/g, (_, index) => String(parts[index === "" ? next++ : index]));
}
/** Create an element; text is never interpreted as markup.
 * @template {keyof HTMLElementTagNameMap} K @param {K} tag
 * @param {Record<string, string | number>} [attributes] @param {...(Node | string | number)} children */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children.map(child => (typeof child === "number" ? String(child) : child)));
  return element;
}
