// The page's URL: encodes the open layer and selection, and restores them.
import { chooseCell, putNamed } from "./actions.js";
import { CARDS } from "./course-cards.js";
import { get, patch, subscribe, touches } from "./store.js";

/** @typedef {import("./store.js").State} State */

/** URL of a layer in a view, keeping the other parameters.
 * @param {string} layer @param {import("./store.js").View} [view] @param {number} [card] of the course */
export function address(layer, view = get().view, card = get().card) {
  const { language, channel, cell, layer: open } = get(), values = new URLSearchParams(), name = imageName();
  if (view !== "explore") values.set("view", view);
  if (view === "course") values.set("card", String(card + 1));
  if (name) values.set("image", name);
  values.set("layer", layer);
  if (layer === open && channel !== null && cell !== null) {
    values.set("channel", String(channel));
    values.set("at", cell.join(","));
  }
  values.set("lang", language);
  return "#" + values.toString().replaceAll("%2C", ",");
}

/** The name of the image that is open: a sample's, or the id of a person's own. */
const imageName = () => get().sample || get().image?.id || "";

/** Parse the URL; what the model does not have is ignored.
 * @returns {Record<"name" | "language" | "mark", string | null> &
 *   Pick<State, "view" | "card" | "layer" | "channel" | "cell">} */
export function readAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1)), { model, layer: open } = get();
  const layers = model?.glass ? model.layers : [];
  const layer = layers.find(each => each.name === wanted.get("layer")) ?? layers.find(each => each.name === open);
  const [width, height, channels] = layer ? layer.shape : [1, 1, 1];
  const [row, column] = (wanted.get("at") ?? "").split(",").map((text, i) => index(text, i ? width : height));
  return {
    view: model?.views.find(each => each === wanted.get("view")) ?? "explore",
    card: Math.max(0, (index(wanted.get("card"), CARDS.length + 1) ?? 1) - 1),
    name: wanted.get("image"),
    language: wanted.get("lang"),
    mark: wanted.get("mark"),
    layer: layer ? layer.name : open,
    channel: index(wanted.get("channel"), channels),
    cell: row === null || column === null || column === undefined ? null : [row, column],
  };
}

/** @param {string | null} text @param {number} count */
const index = (text, count) => (/^[0-9]{1,6}$/.test(text ?? "") ? Math.min(count - 1, Number(text)) : null);

/** Synchronise URL and state. */
export function followAddress() {
  subscribe(changed => {
    if (!touches(changed, "view", "card", "image", "language", "layer", "channel", "cell")) return;
    const { model, view, card, layer, channel } = get(), before = new URLSearchParams(location.hash.slice(1));
    const moved = view !== (before.get("view") ?? "explore") ||
      (view === "course" && String(card + 1) !== before.get("card")), other = before.get("layer") !== layer;
    const another = before.get("image") !== imageName();
    if (channel === null && !other && !moved && !another) return; // its strongest channel is still loading
    const known = model?.glass && model.layers.some(each => each.name === before.get("layer"));
    history[known && (moved || other || another) ? "pushState" : "replaceState"](null, "", address(layer));
  });
  addEventListener("popstate", () => {
    const { layer: before } = get(), { view, card, name, layer, channel, cell } = readAddress();
    patch({ view, card });
    if (name && name !== imageName()) {
      patch({ layer, channel: null, cell: null });
      putNamed(name, { channel, cell });
    } else if (layer !== before || channel !== null) {
      patch({ layer, channel, cell });
      if (channel !== null) chooseCell(channel, cell);
    }
  });
}
