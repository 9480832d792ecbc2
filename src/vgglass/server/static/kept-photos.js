// A person's own photographs, kept in this browser, so that reload and back bring them back.

const MOST = 12; // photographs
const STORE = "photographs";

/** @typedef {{id: string, body: Blob | ArrayBuffer, at: number}} Kept */

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const done = request => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

/** @param {IDBTransactionMode} mode */
async function store(mode) {
  const opening = indexedDB.open("vgglass", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "id" }).createIndex("at", "at");
  return (await done(opening)).transaction(STORE, mode).objectStore(STORE);
}

/** Keep a photograph under the id that the server gave it; the oldest make room.
 * @param {string} id @param {Blob | ArrayBuffer} body */
export async function keepPhoto(id, body) {
  const kept = await store("readwrite");
  await done(kept.put({ id, body, at: Date.now() }));
  const keys = await done(kept.index("at").getAllKeys());
  for (const old of keys.slice(0, -MOST)) kept.delete(old);
}

/** Null for one that is kept no longer. @param {string} id @returns {Promise<Blob | ArrayBuffer | null>} */
export async function keptPhoto(id) {
  /** @type {Kept | undefined} */
  const found = await done((await store("readonly")).get(id));
  return found ? found.body : null;
}
