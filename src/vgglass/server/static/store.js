// The page's state. Elements read it, patch it, and subscribe to the keys that they render.

/** @typedef {readonly [row: number, column: number]} Cell */

/** What lies over the photograph: one thing at a time.
 * @typedef {keyof import("./words.js").Words["overlays"]} Overlay */

/** Where a refusal is told: beside what was asked for.
 * @typedef {"photo" | "answer" | "overlay" | "grid" | "step" | "course" | "page"} Place */
/** @typedef {Partial<Record<Place, import("./http.js").Refused>>} Failures */

/** A view of the page, one a tab. @typedef {keyof import("./words.js").Words["views"]} View */

/**
 * A cell of a layer's map whose receptive field is drawn on the photograph.
 * @typedef {{layer: import("./api.js").Layer, cell: Cell}} Position
 */

/**
 * The maps in the grid: those of `layer`, or of the convolution before it (`name`).
 * @typedef {object} Maps
 * @property {import("./api.js").ImageAnswer} image
 * @property {import("./api.js").Layer} layer
 * @property {string} name
 * @property {import("./api.js").LayerFigures} figures
 * @property {Float32Array} values channel by channel, row by row
 * @property {number} width
 * @property {number} height
 * @property {number} channels
 * @property {boolean} signed
 * @property {number | null} limit end of the colour scale shared by all layers, once fetched
 * @property {ParentMaps | null} parent of a shrunk model whose parent is there
 */

/**
 * All maps of the parent's layer beside the one in the grid.
 * @typedef {object} ParentMaps
 * @property {import("./api.js").Kin} kin
 * @property {import("./api.js").LayerFigures} figures
 * @property {Float32Array} values channel by channel, row by row
 */

/** The map of the input channel that is shown, for the step that takes it in.
 * @typedef {{step: import("./api.js").Step, layer: string, channel: number, values: Float32Array, width: number,
 *   height: number}} InputMap */

/**
 * @typedef {object} State
 * @property {View} view the one that is open
 * @property {number} card of the course
 * @property {import("./words.js").Language} language
 * @property {"light" | "dark"} colourScheme
 * @property {string} problem what concerns the whole page; '' if there is nothing
 * @property {import("./api.js").Model | null} model
 * @property {Failures} failures what was refused, by where it is told
 * @property {Blob | ArrayBuffer | null} body the image's own bytes
 * @property {string} sample the name of the sample that is open; '' for a person's own image
 * @property {ImageBitmap | null} awaited an image that has been put and is not answered yet
 * @property {import("./api.js").ImageAnswer | null} image null until the first is answered
 * @property {number} latency milliseconds from the bytes to the answer
 * @property {{bitmap: ImageBitmap, image: import("./api.js").ImageAnswer} | null} photo what is drawn; the one before
 *   stays until the next is decoded
 * @property {readonly import("./api.js").LayerSummary[]} summaries of the layers computed so far, for `image`
 * @property {string} layer
 * @property {number | null} channel null until the layer's maps are there: then its strongest
 * @property {Cell | null} cell null until then: then the largest number of the channel's map
 * @property {Position | null} position chosen or pointed at last
 * @property {import("./api.js").Field | null} field where the gradient of `position` falls
 * @property {Maps | null} maps
 * @property {"channel" | "activation" | "importance" | "effect"} order of the maps
 * @property {"map" | "layer" | "network"} scale of the maps' colours
 * @property {ReadonlySet<string>} ablated channels set to zero, as 'conv3_2:17'
 * @property {import("./api.js").Importance | null} importance of all channels for the class explained
 * @property {import("./api.js").Step | null} step the arithmetic of the chosen cell
 * @property {number | null} inputChannel whose window and kernel are shown; null for the one that adds most
 * @property {InputMap | null} inputMap
 * @property {Cell | null} lit row and column in the window under the pointer
 * @property {Overlay} overlay what lies over the photograph
 * @property {import("./words.js").Method | null} method of attribution; null before there is a model
 * @property {boolean} ofOpenLayer whether Grad-CAM looks at the open layer and not at the last before pool5
 * @property {number | null} target class to explain; null for the likeliest
 * @property {number | null} against class that it is compared with in the class map
 * @property {import("./api.js").Attribution | null} attribution
 * @property {import("./api.js").ClassMap | null} classMap
 * @property {Cell | null} classMapCell pointed at
 * @property {import("./api.js").Scores | null} scores
 * @property {Cell | null} scoreCell pointed at
 * @property {Cell | null} photoPoint row and column of the photograph under the pointer
 * @property {number} opacity of what lies over the photograph, 0 to 1
 * @property {import("./watch-state.js").Watch} watch the run that the page trains, and its record
 * @property {import("./teach-api.js").Lesson | null} lesson of the folder that is taught by
 * @property {ReadonlySet<number>} picked images of the lesson
 * @property {import("./teach-api.js").Tried | null} tried the photograph whose answer Teach explains
 */

/** @typedef {ReadonlySet<keyof State>} Changed */

/** @type {State} */
let state = {
  lesson: null,
  picked: new Set(),
  tried: null,
  view: "explore",
  card: 0,
  language: "en",
  colourScheme: "light",
  problem: "",
  model: null,
  failures: {},
  body: null,
  sample: "",
  awaited: null,
  image: null,
  latency: 0,
  photo: null,
  summaries: [],
  layer: "conv1_1",
  channel: null,
  cell: null,
  position: null,
  field: null,
  maps: null,
  order: "channel",
  scale: "map",
  ablated: new Set(),
  importance: null,
  step: null,
  inputChannel: null,
  inputMap: null,
  lit: null,
  overlay: "field",
  method: null,
  ofOpenLayer: false,
  target: null,
  against: null,
  attribution: null,
  classMap: null,
  classMapCell: null,
  scores: null,
  scoreCell: null,
  photoPoint: null,
  opacity: 0.6,
  watch: { status: null, losses: new Float32Array(), playhead: null, point: null, pinned: null, guesses: {} },
};

/** @type {Set<(changed: Changed) => void>} */
const listeners = new Set();
/** @type {Set<keyof State>} */
let pending = new Set();

/** @returns {Readonly<State>} */
export const get = () => state;

/** Set values immediately; subscribers are notified once per turn of the event loop, with all changes.
 * @param {Partial<State>} values */
export function patch(values) {
  const names = /** @type {(keyof State)[]} */ (Object.keys(values)).filter(name => values[name] !== state[name]);
  if (!names.length) return;
  if (!pending.size) queueMicrotask(notify);
  for (const name of names) pending.add(name);
  state = { ...state, ...values };
}

function notify() {
  const changed = pending;
  pending = new Set();
  for (const listener of listeners) listener(changed);
}

/** @param {(changed: Changed) => void} listener @returns {() => void} unsubscribes */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** @param {Changed} changed @param {...(keyof State)} names */
export const touches = (changed, ...names) => names.some(name => changed.has(name));
