// Image input: file, drag and drop, paste, camera, samples.
import { putImage, putSample } from "./actions.js";
import { context2d, PageElement } from "./element.js";
import { rove, settle } from "./roving.js";
import { get, patch } from "./store.js";
import { fill, make } from "./ui.js";
import { sampleName, words } from "./words.js";

class PhotoInput extends PageElement {
  /** @type {(keyof import("./store.js").State)[]} */
  watched = ["model", "language", "sample"];
  #drop = this.child("#drop", HTMLElement);
  #file = this.child("#file", HTMLInputElement);
  #webcam = this.child("#webcam", HTMLElement);
  #video = this.child("video", HTMLVideoElement);
  #samples = this.child("#samples", HTMLElement);
  #tools = this.child("#photoTools", HTMLElement);

  connectedCallback() {
    super.connectedCallback();
    this.#file.addEventListener("change", () => {
      put(this.#file.files?.[0]);
      this.#file.value = "";
    });
    this.child("#choose", HTMLElement).addEventListener("click", () => this.#file.click());
    rove(this.#tools);
    this.child("#camera", HTMLElement).addEventListener("click", () => this.#openCamera());
    this.child("#cameraStop", HTMLElement).addEventListener("click", () => this.#closeCamera());
    this.child("#shoot", HTMLElement).addEventListener("click", () => this.#takePicture());
    this.#acceptDrops();
    addEventListener("paste", event => {
      if (get().view === "explore") put(event.clipboardData?.files[0]);
    });
  }

  #acceptDrops() {
    for (const name of ["dragover", "dragenter"]) {
      addEventListener(name, event => {
        event.preventDefault();
        this.#drop.classList.add("over");
      });
    }
    addEventListener("dragleave", event => {
      if (!event.relatedTarget) this.#drop.classList.remove("over");
    });
    addEventListener("drop", event => {
      event.preventDefault();
      this.#drop.classList.remove("over");
      if (get().view === "explore") put(event.dataTransfer?.files[0]);
    });
  }

  update() {
    const { model, sample } = get();
    if (!model?.glass) return;
    this.#samples.setAttribute("aria-label", words.samples);
    this.#tools.setAttribute("aria-label", words.image);
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.sample : undefined;
    this.#samples.replaceChildren(...model.samples.map(name => make("button", {
      type: "button", "data-sample": name, "aria-pressed": String(name === sample), onclick: () => putSample(name),
    }, sampleName(name))));
    settle(this.#tools);
    if (focused) this.child(`[data-sample="${CSS.escape(focused)}"]`, HTMLElement).focus();
  }

  async #openCamera() {
    try {
      const video = { width: 640, facingMode: "environment" };
      this.#video.srcObject = await navigator.mediaDevices.getUserMedia({ video });
    } catch (error) {
      patch({ problem: fill(words.noCamera, { reason: error instanceof Error ? error.message : String(error) }) });
      return;
    }
    this.#webcam.hidden = false;
    await this.#video.play();
  }

  #closeCamera() {
    const { srcObject } = this.#video;
    if (srcObject instanceof MediaStream) for (const track of srcObject.getTracks()) track.stop();
    this.#webcam.hidden = true;
  }

  async #takePicture() {
    const canvas = new OffscreenCanvas(this.#video.videoWidth, this.#video.videoHeight);
    context2d(canvas).drawImage(this.#video, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/png" });
    this.#closeCamera();
    put(blob);
  }
}

/** Open the user's image; one that comes before the model is opened once that has loaded, see main.js.
 * @param {Blob | null | undefined} file */
function put(file) {
  if (!file) return;
  if (get().model) putImage(file);
  else patch({ body: file });
}

customElements.define("photo-input", PhotoInput);
