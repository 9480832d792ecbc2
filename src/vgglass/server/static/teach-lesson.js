// What a person does in Teach, and following the lesson as it changes, in this tab or another.
import { Refused } from "./http.js";
import { get, patch } from "./store.js";
import * as api from "./teach-api.js";
import { fill } from "./ui.js";
import { words } from "./words.js";

/** Photographs that are sent at once. */
const AT_ONCE = 3;
const AGAIN = 1000; // milliseconds until a server that is gone is asked again

/** @typedef {{file: Blob, name: string, label: string | null}} Photograph */

/** Follow the lesson until aborted, also over a restart of the server. @param {AbortSignal} signal */
export async function follow(signal) {
  let rescan = true;
  while (!signal.aborted) {
    try {
      if (rescan) await api.postRescan();
      rescan = false;
      await load();
      for await (const { version } of api.fetchVersions(get().lesson?.version ?? 0, signal)) {
        if (version !== get().lesson?.version) await load();
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status === 401) throw error;
      patch({ problem: words.teach.gone });
      rescan = true;
    }
    await new Promise(resolve => setTimeout(resolve, AGAIN));
  }
}

async function load() {
  const lesson = await api.fetchLesson(), here = new Set(lesson.numbers);
  const { picked, problem } = get();
  const left = new Set([...picked].filter(number => here.has(number)));
  patch({
    lesson,
    ...(left.size < picked.size ? { picked: left } : {}),
    ...(problem === words.teach.gone ? { problem: "" } : {}),
  });
}

/** The sentence of a refusal in the page's language. @param {unknown} error */
export function reason(error) {
  if (error instanceof Refused) {
    const own = words.teach.refused;
    return error.type in own ? own[/** @type {keyof typeof own} */ (error.type)] : error.message;
  }
  return error instanceof TypeError ? words.teach.gone : String(error);
}

/** Run what changes the lesson; a refusal is said, and nothing has changed.
 * @param {() => Promise<unknown>} work @returns {Promise<boolean>} whether it was done */
async function attempt(work) {
  try {
    await work();
    if (get().problem) patch({ problem: "" });
    return true;
  } catch (error) {
    patch({ problem: reason(error) });
    return false;
  }
}

export const gesture = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/** @param {import("./teach-api.js").Action} action */
export const act = action => attempt(() => api.postAction(action, gesture()));

export const undo = () => attempt(api.postUndo);

/** Move images to a class, or with null to the tray. @param {number[]} images @param {string | null} label */
export async function move(images, label) {
  if (images.length && (await act({ what: "move", images, label }))) patch({ picked: new Set() });
}

/** Send photographs, each into its class, all as one gesture; a class that is not there is made first.
 * @param {Photograph[]} photographs @param {(done: number) => void} progress @param {AbortSignal} signal
 * @returns {Promise<string>} what is to be said at the end */
export async function send(photographs, progress, signal) {
  const one = gesture(), texts = words.teach;
  /** @type {{name: string, reason: string}[]} */
  const failed = [];
  /** @type {(string | null)[]} */
  const present = [];
  const known = new Set(get().lesson?.classes.map(each => each.name.normalize()));
  for (const label of new Set(photographs.map(each => each.label))) {
    if (label === null || known.has(label.normalize())) continue;
    if (!(await attempt(() => api.postAction({ what: "add-class", label }, one)))) return get().problem;
  }
  const waiting = [...photographs];
  let done = 0;
  const worker = async () => {
    for (let next = waiting.shift(); next && !signal.aborted; next = waiting.shift()) {
      try {
        const found = await api.postPhotograph(next.file, next.name, next.label?.normalize() ?? null, one, signal);
        if (found.present && found.label !== next.label) present.push(found.label);
      } catch (error) {
        if (!signal.aborted) failed.push({ name: next.name, reason: reason(error) });
      }
      progress(++done);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const said = [];
  if (failed.length) {
    const [first] = failed;
    said.push(fill(texts.failed, { count: failed.length, name: first.name, reason: first.reason }));
  }
  if (present.length) {
    const label = present[0];
    said.push(fill(label === null ? texts.presentTray : texts.present, { count: present.length, class: label ?? "" }));
  }
  return said.join(" ");
}

/** Numbers the photographs that are explained; only the latest answer is shown. */
let latest = 0;

/** Explain an image of the lesson. @param {number} number @param {string | null} [label] */
export async function explain(number, label = null) {
  const turn = ++latest;
  await attempt(async () => {
    const [found, picture] = await Promise.all([api.fetchWhy(number, label), api.fetchSquare(number)]);
    if (turn === latest) patch({ tried: { ...found, picture, body: null } });
  });
}

/** Answer a photograph that is not kept. @param {Blob} body @param {string | null} [label] */
export async function tryOut(body, label = null) {
  const turn = ++latest;
  await attempt(async () => {
    const found = await api.postTried(body, label);
    if (turn === latest) patch({ tried: { ...found, picture: body, body } });
  });
}
