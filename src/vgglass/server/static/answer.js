// The answer's bars, what silencing channels does to them, and what in the image speaks for a class.
import { json, query } from "./api.js";
import { hideClassMap, showClassMap } from "./classmap.js";
import { heat } from "./colours.js";
import { lay } from "./photo.js";
import { at, fill, make, number, percent, say, together } from "./words.js";

/** @param {any} state of the page @param {() => void} changed what to do when channels were silenced or heard again */
export function answers(state, changed) {
  let method = null, target = null, against = null, sliding = false, turn = 0;

  /** Bars of the top five; with channels silenced beside what they were. */
  async function bars() {
    const image = state.image, names = [...state.silenced];
    if (!image) return at("bars").replaceChildren(make("p", { class: "note" }, say.looking));
    let rows = image.top.map(row => ({ ...row, after: row.probability }));
    if (names.length) {
      const asked = names.map(name => "channels=" + encodeURIComponent(name)).join("&");
      const told = await json("glass/images/" + image.id + "/without?" + asked);
      if (image !== state.image) return;
      rows = told.rows;
    }
    const grid = make("div", { class: "bars" });
    for (const row of rows) {
      const level = make("div", { class: "fill" }), track = make("div", { class: "track" }, level);
      level.style.width = 100 * row.after + "%";
      if (names.length) {
        const was = make("div", { class: "was" });
        was.style.left = 100 * row.before + "%";
        track.append(was);
      }
      const figure = names.length ? row.before.toFixed(4) + " → " + row.after.toFixed(4) : row.after.toFixed(4);
      grid.append(
        make("button", { type: "button", class: "class", "aria-pressed": String(row.index === aim()), title: say.explain, onclick: () => { target = row.index; against = null; bars(); explain(method); } }, row.class),
        track, make("span", { class: "probability" }, figure),
      );
    }
    at("bars").replaceChildren(grid);
    at("unsure").hidden = !image.unsure;
    at("timing").textContent = together(fill(say.computed, image.engine, image.precision, image.views), state.took ? fill(say.took, Math.round(state.took)) : "");
    silenced(names);
  }

  const aim = () => target === null && state.image ? state.image.top[0].index : target;

  function silenced(names) {
    const box = at("silenced");
    box.hidden = !names.length;
    box.replaceChildren(
      make("p", { class: "note" }, say.silencedNote),
      make("div", { class: "choices" }, ...names.map(name => make("button", { type: "button", onclick: () => { state.silenced.delete(name); changed(); } }, name + " ✕"))),
    );
  }

  function tools() {
    const button = (name, text) => make("button", { type: "button", "aria-pressed": String(method === name), "data-method": name, onclick: () => explain(method === name ? "" : name) }, text);
    at("denseNote").textContent = state.model.head === "pooled" ? say.denseNotePooled : say.denseNote;
    method ??= state.model.methods.includes("class-map") ? "class-map" : "";
    at("methods").replaceChildren(...state.model.methods.map(name => button(name, say.methods[name])));
    at("slide").setAttribute("aria-pressed", String(sliding));
  }

  /** @param {string} name of a method; '' takes the map away */
  async function explain(name) {
    method = name;
    sliding = name ? false : sliding;
    const mine = ++turn, image = state.image;
    tools();
    hideClassMap();
    lay(sliding ? { heat: null } : { heat: null, scores: null });
    at("whyLegend").textContent = name ? say.working : "";
    if (!name || !image) return;
    if (name === "class-map") return places(mine);
    const layers = state.model.layers, opened = layers.findIndex(layer => layer.name === state.layer);
    const layer = name === "gradcam" && opened > 0 && opened < layers.findIndex(found => found.name === state.model.head_layer) ? state.layer : null;
    const found = await json("glass/images/" + image.id + "/attributions/" + name + query({ target, layer }));
    if (mine !== turn || image !== state.image) return;
    lay({ heat: heat(found) });
    at("whyLegend").textContent = fill(found.signed ? say.whySigned : say.whyPositive, say.methods[name] + (found.layer ? " (" + found.layer + ")" : ""), found.class, number(found.end));
  }

  /** What each place adds to the logit, or to its difference from another's. @param {number} mine */
  async function places(mine) {
    const image = state.image, found = await json("glass/images/" + image.id + "/class-map" + query({ target: aim(), against }));
    if (mine !== turn || image !== state.image) return;
    const others = image.top.filter(row => row.index !== aim()).map(row => make("button", { type: "button", "aria-pressed": String(row.index === against), onclick: () => { against = row.index === against ? null : row.index; explain(method); } }, fill(say.against, row.class)));
    showClassMap(found, make("div", { class: "choices" }, ...others));
    const about = found.other === null ? found.class : fill(say.differenceOf, found.class, found.other);
    at("whyLegend").textContent = fill(say.whySigned, say.methods["class-map"], about, number(found.picture.end));
  }

  /** The classifier slid over the whole photograph, or no longer. */
  async function slide() {
    sliding = !sliding;
    method = "";
    const mine = ++turn, image = state.image;
    tools();
    at("whyLegend").textContent = "";
    hideClassMap();
    lay({ heat: null, scores: null, place: null });
    at("slideLegend").textContent = sliding ? say.working : "";
    if (!sliding || !image) return;
    const found = await json("glass/images/" + image.id + "/scores" + query({ target: aim() }));
    if (mine !== turn || image !== state.image) return;
    lay({ scores: found });
    const rows = found.probabilities.length, columns = found.probabilities[0].length, { both } = found;
    at("slideLegend").textContent = together(
      fill(say.slideLegend, found.class, columns, rows, percent(found.largest), percent(found.mean)),
      fill(both.layer === "fc6" ? say.slideSame : say.slideSamePooled, both.outputs, both.input.slice().reverse().join("×"), both.difference.toPrecision(2), number(both.largest)),
    );
  }

  at("slide").addEventListener("click", slide);
  return {
    bars, tools,
    /** Grad-CAM follows the opened layer. */
    follow: () => { if (method === "gradcam") explain(method); },
    /** For another image: its own class, and the same map again. */
    anew: () => { target = against = null; if (sliding) { sliding = false; slide(); } else explain(method); },
  };
}
