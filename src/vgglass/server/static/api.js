// What the page asks of its server. Every number comes from there; nothing is asked of any other machine.

import { fill, say } from "./words.js";

/** The server's own sentence for what it refused. */
export class Refused extends Error {
  /** @param {number} status @param {string} type @param {string} message */
  constructor(status, type, message) {
    super(message);
    this.status = status;
    this.type = type;
  }
}

/** @type {(path: string) => Promise<boolean>} what puts an image there again that the server has dropped */
let restore = async () => false;
/** @type {() => Promise<void>} what asks the person for the token */
let askToken = async () => {};

/** @param {(path: string) => Promise<boolean>} again @param {() => Promise<void>} token */
export function onTrouble(again, token) {
  restore = again;
  askToken = token;
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<Response>} */
export async function ask(path, options = {}) {
  for (let attempt = 0; ; attempt++) {
    const token = sessionStorage.getItem("token");
    const headers = { ...options.headers, ...(token ? { Authorization: "Bearer " + token } : {}) };
    const response = await fetch(path, { ...options, headers });
    if (response.ok) return response;
    if (!response.headers.get("Content-Type")?.startsWith("application/json")) throw new Refused(response.status, "proxy", fill(say.proxy, response.status));
    const told = await response.json();
    if (response.status === 401 && attempt < 5) await askToken();
    else if (told.type === "no image" && attempt === 0 && await restore(path)) continue;
    else throw new Refused(response.status, told.type, told.error);
  }
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<any>} */
export const json = async (path, options) => (await ask(path, options)).json();

/** @param {string} path @param {RequestInit} [options] @returns {Promise<Float32Array>} */
export const floats = async (path, options) => new Float32Array(await (await ask(path, options)).arrayBuffer());

/** Values as they come, one a line. @param {string} path @param {RequestInit} [options] */
export async function* lines(path, options) {
  const reader = (await ask(path, options)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    for (const line of whole) yield JSON.parse(line);
  }
}

/** @param {Record<string, string | number | null | undefined>} values */
export const query = values => "?" + new URLSearchParams(
  Object.entries(values).filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => [name, String(value)]),
);
