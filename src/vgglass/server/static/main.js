// The page: an image in front of the network, and whatever of it is opened. The URL holds what one sees.
import { answers } from "./answer.js";
import { ask, json, onTrouble, query, Refused } from "./api.js";
import { showArithmetic } from "./arithmetic.js";
import { hideClassMap, placeAt } from "./classmap.js";
import { setPalettes } from "./colours.js";
import { grids } from "./grid.js";
import { showInput } from "./input.js";
import { enlarged } from "./map.js";
import { lay, redraw, scorePlace, showGlow, showPhoto, showSeen } from "./photo.js";
import { playground } from "./playground.js";
import { drawStrip, markOpen, showThumbnails } from "./strip.js";
import { all, at, fill, lang, load, make, say, speak, usual } from "./words.js";

const REST = 160;  // milliseconds that a pointer rests on a cell before its gradient is asked for

/** What the page shows. `image`: what POST /glass/images answered; `silenced`: channels as 'conv3_2:17'.
 * @type {any} */
const state = { model: null, image: null, body: null, sample: "", layer: "conv1_1", channel: 0, at: [0, 0], silenced: new Set(), took: 0 };
let turn = 0, resting = 0, looking = new AbortController();

const grid = grids(state, { point: (channel, row, column) => point(row, column), choose });
const map = enlarged(state, grid.map, { point, choose: (row, column) => choose(state.channel, row, column), silence });
const answer = answers(state, silencedChanged);
const play = playground(state);

/** The layer's facts that the model told. */
const layer = () => state.model.layers.find(found => found.name === state.layer);

/** The address of a layer beside all else that is shown. @param {string} [name] */
function link(name = state.layer) {
  const here = name === state.layer ? { channel: state.channel, at: state.at.join(",") } : {};
  const values = { ...(state.sample ? { image: state.sample } : {}), layer: name, ...here, lang };
  return "#" + new URLSearchParams(Object.entries(values).map(([key, value]) => [key, String(value)])).toString().replaceAll("%2C", ",");
}

const remember = () => history.replaceState(null, "", link());

/** What an address asks for, as far as the model has it. */
function address() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const found = state.model.layers?.find(each => each.name === wanted.get("layer"));
  const number = (text, count) => /^[0-9]{1,6}$/.test(text || "") ? Math.min(count - 1, Number(text)) : null;
  if (found) state.layer = found.name;
  const [width, height, channels] = layer().shape, [row, column] = (wanted.get("at") || "").split(",");
  const place = [number(row, height), number(column, width)];
  state.wanted = { channel: number(wanted.get("channel"), channels), at: place.includes(null) ? null : place };
  return { sample: wanted.get("image"), lang: wanted.get("lang") };
}

/** A layer opened: its grid, then its strongest channel, or what the address asked for. @param {string} name @param {boolean} [focus] */
async function open(name, focus = false) {
  if (name !== state.layer) {
    state.layer = name;
    state.wanted = { channel: null, at: null };
    history.pushState(null, "", link(name));
  }
  map.stop();
  markOpen(name);
  at("layer-title").textContent = name + " · " + say.kinds[layer().kind];
  at("explanation").textContent = say.explanations[layer().kind];
  answer.follow();
  await grid.open();
  const image = state.image;
  if (!image || name !== state.layer || !grid.map()) return;
  const { channel, at: place } = state.wanted;
  await choose(channel ?? grid.strongest(), place ? place[0] : null, place ? place[1] : null);
  if (focus) at("opened").focus();
}

/** A cell chosen: its map, its box, its arithmetic. Without a place the largest number of the map.
 * @param {number} channel @param {number | null} row @param {number | null} column */
async function choose(channel, row, column) {
  const changed = channel !== state.channel;
  state.channel = channel;
  const shown = grid.map();
  if (!shown) return;
  if (row === null || column === null) {
    const largest = shown.values.reduce((best, value, i) => value > shown.values[best] ? i : best, 0);
    [row, column] = [Math.floor(largest / shown.width), largest % shown.width];
  }
  state.at = [row, column];
  remember();
  if (changed || at("grid").dataset.marked !== state.layer) grid.draw();
  at("grid").dataset.marked = state.layer;
  map.draw();
  showSeen(layer(), row, column);
  const image = state.image, mine = { layer: state.layer, channel, row, column };
  if (state.layer === "image") {
    at("arithmetic").replaceChildren(make("p", {}, say.noArithmetic));
    at("before").parentElement.hidden = true;
    return;
  }
  glowLater(row, column);
  const told = await json("glass/images/" + image.id + "/steps/" + state.layer + query({ channel, row, column }));
  const still = image === state.image && mine.layer === state.layer && mine.channel === state.channel;
  if (!still || row !== state.at[0] || column !== state.at[1]) return;
  showArithmetic(state, told);
  await showInput(state, told);
}

/** A cell pointed at: its box at once, its glow once the pointer rests. @param {number} row @param {number} column */
function point(row, column) {
  showSeen(layer(), row, column);
  lay({ glow: null });
  glowLater(row, column);
}

function glowLater(row, column) {
  clearTimeout(resting);
  looking.abort();
  const found = layer();
  if (["image", "linear", "softmax", "dropout"].includes(found.kind) || found.shape[0] === 1) return lay({ glow: null });
  const abort = looking = new AbortController(), image = state.image;
  resting = setTimeout(async () => {
    try {
      const field = await json("glass/images/" + image.id + "/fields/" + found.name + query({ row, column }), { signal: abort.signal });
      if (image === state.image && found.name === state.layer && !abort.signal.aborted) showGlow(field, found);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }, REST);
}

function silence() {
  const key = state.layer + ":" + state.channel;
  if (!state.silenced.delete(key)) state.silenced.add(key);
  silencedChanged();
}

function silencedChanged() {
  answer.bars();
  grid.draw();
  map.draw();
}

/** An image put before the network. @param {Blob | ArrayBuffer} body @param {string} sample its name, or '' for a person's own */
async function put(body, sample = "") {
  const mine = ++turn, began = performance.now();
  Object.assign(state, { body, sample, image: null, took: 0 });
  state.silenced.clear();
  map.stop();
  hideClassMap();
  lay({ heat: null, glow: null, box: null, scores: null });
  at("seen").textContent = "";
  problem("");
  answer.bars();
  try {
    const image = await (state.model.glass ? post : predicted)(body);
    if (mine !== turn) return;
    if (image.digest !== state.model.digest) await learn();
    state.took = performance.now() - began;
    state.image = image;
    answer.bars();
    performance.mark("answered");
    if (!state.model.glass) return showPhoto(await createImageBitmap(new Blob([body])), null, 0);
    const [picture, layers] = await Promise.all([ask("glass/images/" + image.id + "/picture"), json("glass/images/" + image.id + "/layers")]);
    if (mine !== turn) return;
    showPhoto(await createImageBitmap(await picture.blob()), image, state.model.size);
    at("photo").setAttribute("aria-label", fill(say.photoLabel, image.width, image.height));
    showThumbnails(layers);
    answer.anew();
    play.anew();
    await open(state.layer);
  } catch (error) {
    if (mine !== turn) return;
    if (!(error instanceof Refused)) throw error;
    problem(error.message);
    at("bars").replaceChildren();
  }
}

/** What /predict answers, where the server has no glass. @param {Blob | ArrayBuffer} body */
async function predicted(body) {
  const told = await json("predict", { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } });
  return { ...told.images[0], ...told.model, id: "" };
}

const post = body => json("glass/images", { method: "POST", body, headers: { "Content-Type": "application/octet-stream" } });

async function sample(name) {
  at("samples").querySelectorAll("button").forEach(button => button.setAttribute("aria-pressed", String(button.dataset.sample === name)));
  const mine = ++turn;
  const body = await (await ask("glass/samples/" + name)).arrayBuffer();
  if (mine === turn) await put(body, name);
}

/** The person's own file. @param {Blob | null | undefined} file */
function own(file) {
  if (!file) return;
  at("samples").querySelectorAll("button").forEach(button => button.setAttribute("aria-pressed", "false"));
  put(file);
}

/** @param {string} text '' when all is well */
function problem(text) {
  at("problem").hidden = !text;
  at("problem").textContent = text;
}

/** The model, as the server has it now. */
async function learn() {
  state.model = await json("glass/model");
  at("brand").textContent = "vgglass · " + state.model.name;
  if (!state.model.glass) return;
  setPalettes(state.model.palettes);
  if (!layer()) state.layer = "conv1_1";
  drawStrip(state.model, link, name => open(name, true));
}

/** Everything in the language that is chosen. */
function words() {
  at("language").textContent = say.other;
  at("language").lang = lang === "en" ? "zh-CN" : "en";
  document.title = "vgglass · " + state.model.name;
  at("about").textContent = fill(say.about, state.model.architecture || "", state.model.settings.engine, state.model.settings.precision);
  if (!state.model.glass) return;
  at("samples").setAttribute("aria-label", say.samples);
  at("samples").replaceChildren(...state.model.samples.map(name => make("button", { type: "button", "data-sample": name, "aria-pressed": String(name === state.sample), onclick: () => sample(name) }, sampleName(name))));
  drawStrip(state.model, link, name => open(name, true));
  answer.tools();
  play.words();
  answer.bars();
}

const sampleName = name => say.sampleNames[name] || fill(say.digit, name.split("-")[1]);

async function switchLanguage() {
  speak(lang === "en" ? "zh" : "en");
  words();
  if (!state.image) return;
  at("photo").setAttribute("aria-label", fill(say.photoLabel, state.image.width, state.image.height));
  showThumbnails(await json("glass/images/" + state.image.id + "/layers"));
  state.wanted = { channel: state.channel, at: state.at };
  answer.anew();
  await open(state.layer);
  grid.words();
  remember();
}

/** Only predictions, where the server has no glass. */
function withoutGlass() {
  problem(fill(state.model.missing === "graph" ? say.noGlassGraph : say.noGlassPackage, state.model.missing));
  for (const part of all("main > section:not(#image), #glass")) part.hidden = true;
  listen();
}

async function camera() {
  const video = at("video");
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, facingMode: "environment" } });
  } catch (error) {
    return problem(fill(say.noCamera, error.message));
  }
  at("webcam").hidden = false;
  await video.play();
}

function cameraStop() {
  at("video").srcObject?.getTracks().forEach(track => track.stop());
  at("webcam").hidden = true;
}

async function shoot() {
  const video = at("video"), canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await canvas.convertToBlob({ type: "image/png" });
  cameraStop();
  own(blob);
}

/** Ask for the token that the server was started with. */
const token = () => new Promise(resolve => {
  const form = at("token");
  form.hidden = false;
  form.querySelector("input").focus();
  form.onsubmit = event => {
    event.preventDefault();
    sessionStorage.setItem("token", form.elements.token.value);
    form.hidden = true;
    resolve();
  };
});

function listen() {
  at("language").addEventListener("click", switchLanguage);
  at("file").addEventListener("change", event => { own(event.target.files[0]); event.target.value = ""; });
  at("choose").addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); at("file").click(); } });
  at("camera").addEventListener("click", camera);
  at("cameraStop").addEventListener("click", cameraStop);
  at("shoot").addEventListener("click", shoot);
  at("opacity").addEventListener("input", redraw);
  at("photo").addEventListener("pointermove", scorePlace);
  at("photo").addEventListener("pointermove", placeAt);
  for (const name of ["dragover", "dragenter"]) addEventListener(name, event => { event.preventDefault(); at("drop").classList.add("over"); });
  addEventListener("dragleave", event => { if (!event.relatedTarget) at("drop").classList.remove("over"); });
  addEventListener("drop", event => {
    event.preventDefault();
    at("drop").classList.remove("over");
    own(event.dataTransfer.files[0]);
  });
  addEventListener("paste", event => own(event.clipboardData.files[0]));
  addEventListener("popstate", () => {
    const before = state.layer, { sample: wanted } = address();
    if (wanted && wanted !== state.sample && state.model.samples.includes(wanted)) sample(wanted);
    else if (state.layer !== before || state.wanted.channel !== null) open(state.layer);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { grid.draw(); play.words(); });
  addEventListener("unhandledrejection", event => {
    if (!(event.reason instanceof Refused)) return;
    event.preventDefault();
    if (event.reason.type !== "replaced") problem(event.reason.message);
  });
}

async function start() {
  await load();
  speak(usual());
  onTrouble(async path => {
    const id = state.image?.id;
    if (!id || !path.includes(id) || !state.body) return false;
    const image = await post(state.body);
    if (image.digest === state.model.digest) return true;
    put(state.body, state.sample);  // another model serves now: begin again with it
    throw new Refused(404, "replaced", "");
  }, token);
  await learn();
  if (!state.model.glass) {
    words();
    return withoutGlass();
  }
  const wanted = address();
  if (wanted.lang) speak(wanted.lang);
  words();
  listen();
  await sample(state.model.samples.includes(wanted.sample) ? wanted.sample : state.model.samples[0]);
}

start();
