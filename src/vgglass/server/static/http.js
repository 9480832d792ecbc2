// Requests to the page's own server, the only host that the page contacts.
import { fill } from "./ui.js";
import { words } from "./words.js";

/** An error response with the server's message. */
export class Refused extends Error {
  /** @param {number} status @param {string} type @param {string} message */
  constructor(status, type, message) {
    super(message);
    this.status = status;
    this.type = type;
  }
}

/** @type {(path: string) => Promise<boolean>} whether an image that the server had dropped is there again */
let restoreImage = async () => false;
/** @type {() => Promise<void>} */
let askToken = async () => {};

/** Set the handlers that resolve a refused request, which is then retried.
 * @param {typeof restoreImage} restore @param {typeof askToken} ask */
export function setRecovery(restore, ask) {
  restoreImage = restore;
  askToken = ask;
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<Response>} */
export async function request(path, options = {}) {
  for (let attempt = 0; ; attempt++) {
    const token = sessionStorage.getItem("token"), headers = new Headers(options.headers);
    headers.set("Accept-Language", document.documentElement.lang); // the page's, which may not be the browser's
    if (token) headers.set("Authorization", "Bearer " + token);
    const response = await reached(path, { ...options, headers });
    // The server answers in HTML where it is asked to: a proxy does by itself, even with status 200.
    const kind = response.headers.get("Content-Type") ?? "", asked = headers.get("Accept") === "text/html";
    if (response.ok ? kind.startsWith("text/html") && !asked : !kind.startsWith("application/json")) {
      throw new Refused(response.status, "proxy", fill(words.proxy, { status: response.status }));
    }
    if (response.ok) return response;
    /** @type {{error: string, type: string}} */
    const refusal = await response.json();
    if (response.status === 401 && attempt < 5) {
      if (sessionStorage.getItem("token") === token) await askToken(); // else another request has updated it
    } else if (refusal.type === "no image" && attempt === 0 && (await restoreImage(path))) continue;
    else throw new Refused(response.status, refusal.type, refusal.error);
  }
}

/** A server that does not answer is a refusal like another. @param {string} path @param {RequestInit} options */
async function reached(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error instanceof TypeError) throw new Refused(0, "gone", words.gone);
    throw error;
  }
}

/** @template T @param {string} path @param {RequestInit} [options] @returns {Promise<T>} */
export const json = async (path, options) => (await request(path, options)).json();

/** @param {string} path @param {RequestInit} [options] */
export const floats = async (path, options) => new Float32Array(await (await request(path, options)).arrayBuffer());

/** Stream JSON lines.
 * @template T @param {string} path @param {RequestInit} [options] @returns {AsyncGenerator<T, void>} */
export async function* lines(path, options) {
  const { body } = await request(path, options);
  if (!body) return;
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop() ?? "";
    for (const line of parts) yield JSON.parse(line);
  }
}

/** @param {Record<string, string | number | null | undefined>} values null and undefined are omitted */
export function query(values) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined) parameters.append(name, String(value));
  }
  return "?" + parameters;
}
