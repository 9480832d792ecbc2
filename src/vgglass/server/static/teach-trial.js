// A photograph that is tried: its answer live, why, and the nearest of those taught; and the camera.
import { context2d, PageElement } from "./element.js";
import { get, patch } from "./store.js";
import { explain, tryOut } from "./teach-lesson.js";
import { showThumbnail } from "./teach-thumbnails.js";
import { fill, make } from "./ui.js";
import { number as shown, percent, words } from "./words.js";

const BETWEEN = 400; // milliseconds from an answer to the next look of the camera
const BURST = 250; // milliseconds between two photographs of a burst
const WIDE = 640; // pixels of a camera's photograph

export class TeachTrial extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["lesson", "tried", "language"];
  #explained = -1;
  #title = make("h3");
  #note = make("p", { class: "note" });
  #video = make("video", { playsinline: true, hidden: true });
  #picture = make("img", { alt: "", hidden: true });
  #map = make("canvas", { "aria-hidden": "true" });
  #frame = make("div", { class: "frame" }, this.#video, this.#picture, this.#map);
  #hint = make("p", { class: "note" });
  #camera = make("button", { type: "button", "aria-pressed": "false", onclick: () => this.#toggleCamera() });
  #choose = make("button", { type: "button" });
  #file = make("input", { type: "file", accept: "image/*", hidden: true });
  #place = make("p", { class: "note" });
  #warning = make("p", { class: "warning", hidden: true });
  #bars = make("div", { class: "bars", "aria-live": "polite" });
  #why = make("div");
  #nearest = make("div");

  connectedCallback() {
    if (!this.childElementCount) {
      this.append(make("section", {}, this.#title, this.#note, this.#frame, this.#hint,
        make("div", { class: "choices" }, this.#camera, this.#choose, this.#file),
        this.#place, this.#warning, this.#bars, this.#why, this.#nearest));
    }
    super.connectedCallback();
    this.#choose.onclick = () => this.#file.click();
    this.#file.onchange = () => {
      if (this.#file.files?.[0]) tryOut(this.#file.files[0]);
      this.#file.value = "";
    };
    this.addEventListener("drop", event => {
      const file = event.dataTransfer?.files[0];
      if (file) tryOut(file);
    });
  }

  /** @param {import("./store.js").Changed} changed */
  update(changed) {
    const { lesson, tried } = get(), texts = words.teach;
    if (!lesson) return;
    const on = !this.#video.hidden;
    this.#title.textContent = texts.try;
    this.#note.textContent = texts.tryNote;
    this.#hint.textContent = texts.tryDrop;
    this.#hint.hidden = tried !== null || on;
    this.#camera.textContent = on ? texts.cameraOff : texts.camera;
    this.#choose.textContent = texts.choose;
    if (changed.has("lesson") && tried && !on && lesson.version !== this.#explained) {
      const again = this.#explained >= 0;
      this.#explained = lesson.version;
      if (again) this.#ask(tried.map?.class ?? null, lesson.numbers);
    }
    if (tried && (changed.has("tried") || changed.has("language"))) this.#show(tried);
    this.#tellPlace();
  }

  /** Ask again what is shown, by the head of now. @param {string | null} label @param {number[]} numbers */
  #ask(label, numbers) {
    const { tried } = get();
    if (tried?.body) tryOut(tried.body, label);
    else if (tried && tried.number !== null && numbers.includes(tried.number)) explain(tried.number, label);
  }

  #tellPlace() {
    const { lesson, tried } = get(), at = lesson?.numbers.indexOf(tried?.number ?? -1) ?? -1;
    const label = lesson?.classes[lesson.labels[at]]?.name;
    this.#place.hidden = at < 0;
    this.#place.textContent = label === undefined ? words.teach.isInTray : fill(words.teach.isIn, { class: label });
  }

  /** @param {import("./teach-api.js").Tried} tried */
  #show(tried) {
    const texts = words.teach, top = [...tried.answers].sort((a, b) => b.probability - a.probability);
    this.#explained = get().lesson?.version ?? -1;
    if (this.#video.hidden) {
      URL.revokeObjectURL(this.#picture.src);
      this.#picture.src = URL.createObjectURL(tried.picture);
      this.#picture.alt = top[0] ? `${top[0].class} ${percent(top[0].probability)}` : "";
      this.#picture.hidden = false;
    }
    this.#warning.hidden = !tried.unfamiliar;
    this.#warning.textContent = texts.unfamiliar;
    this.#bars.replaceChildren(...top.slice(0, 8).flatMap(({ class: name, probability }) => {
      const filled = make("div", { class: "fill" });
      filled.style.width = 100 * probability + "%";
      return [
        make("button", {
          type: "button", class: "plain", "aria-pressed": String(name === tried.map?.class),
          onclick: () => this.#ask(name, get().lesson?.numbers ?? []),
        }, name),
        make("div", { class: "track" }, filled), make("span", {}, percent(probability)),
      ];
    }));
    if (!top.length) this.#bars.replaceChildren(make("p", { class: "note" }, texts.noAnswer));
    this.#drawMap(tried);
    this.#nearest.replaceChildren(...(tried.nearest.length ? [make("h4", {}, texts.nearest)] : []),
      make("ul", { class: "nearest" }, ...tried.nearest.map(each => {
        const said = fill(texts.nearestOne, { class: each.class, cosine: shown(Number(each.cosine.toFixed(2))) });
        const image = make("img", { alt: "", width: 64, height: 64 });
        queueMicrotask(() => showThumbnail(image, each.number, each.digest));
        return make("li", {}, make("button", {
          type: "button", class: "thumbButton", "aria-label": said, title: said, onclick: () => explain(each.number),
        }, image), make("span", {}, each.class));
      })));
  }

  /** @param {import("./teach-api.js").Tried} tried */
  #drawMap({ map }) {
    const texts = words.teach, context = context2d(this.#map);
    this.#map.hidden = !map || !this.#video.hidden;
    this.#why.replaceChildren();
    if (!map) return;
    const rows = map.scores.length, columns = map.scores[0].length;
    const largest = Math.max(...map.scores.flat().map(Math.abs));
    Object.assign(this.#map, { width: columns, height: rows });
    const picture = context.createImageData(columns, rows);
    map.scores.flat().forEach((score, index) => {
      const strength = Math.abs(score) / (largest || 1);
      picture.data.set([...(score > 0 ? [214, 39, 40] : [31, 90, 200]), 190 * strength], 4 * index);
    });
    context.putImageData(picture, 0, 0);
    this.#why.append(make("h4", {}, fill(texts.why, { class: map.class })),
      make("p", { class: "note" }, fill(texts.whyNote, { rows, columns, logit: shown(map.logit) })));
  }

  async #toggleCamera() {
    if (!this.#video.hidden) return this.#closeCamera();
    try {
      this.#video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: WIDE } });
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      patch({ problem: fill(words.teach.noCamera, { reason: why }) });
      return;
    }
    this.#video.muted = true;
    this.#video.hidden = false;
    this.#picture.hidden = true;
    this.#camera.setAttribute("aria-pressed", "true");
    document.getElementById("teach")?.classList.add("filming");
    await this.#video.play();
    this.update(new Set());
    while (!this.#video.hidden && get().view === "teach") {
      await tryOut(await this.#photograph());
      await new Promise(resolve => setTimeout(resolve, BETWEEN));
    }
    this.#closeCamera();
  }

  #closeCamera() {
    const { srcObject } = this.#video;
    if (srcObject instanceof MediaStream) for (const track of srcObject.getTracks()) track.stop();
    this.#video.srcObject = null;
    this.#video.hidden = true;
    this.#camera.setAttribute("aria-pressed", "false");
    document.getElementById("teach")?.classList.remove("filming");
    this.update(new Set(["tried"]));
  }

  async #photograph() {
    const canvas = new OffscreenCanvas(this.#video.videoWidth, this.#video.videoHeight);
    context2d(canvas).drawImage(this.#video, 0, 0);
    return canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  }

  /** Photograph until the returned function is called; all of a burst bear its time, for they are much alike.
   * @param {(photographs: {file: Blob, name: string}[]) => void} put */
  burst(put) {
    if (this.#video.hidden) return () => {};
    const now = new Date().toISOString().replace(/[-:]/g, "");
    const stem = `${now.slice(0, 8)}-${now.slice(9, 15)}-${now.slice(16, 19)}`;
    /** @type {{file: Blob, name: string}[]} */
    const taken = [];
    const take = async () => {
      const name = `camera-${stem}-${String(taken.length + 1).padStart(2, "0")}.jpg`;
      taken.push({ file: await this.#photograph(), name });
    };
    let last = take();
    const timer = setInterval(() => (last = take()), BURST);
    return async () => {
      clearInterval(timer);
      await last;
      put(taken);
    };
  }
}

customElements.define("teach-trial", TeachTrial);
