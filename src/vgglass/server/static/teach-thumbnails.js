// Thumbnails as object URLs, fetched as they come into sight, the last asked for first.
import { fetchThumbnail } from "./teach-api.js";

const KEPT = 4000;
const AT_ONCE = 6;

/** @type {Map<string, string>} by digest, the least recently shown first */
const urls = new Map();
/** @type {Map<string, {number: number, images: Set<HTMLImageElement>}>} */
const wanted = new Map();
let running = 0;

/** Show an image's thumbnail in an element, now or when it has come.
 * @param {HTMLImageElement} image @param {number} number @param {string} digest */
export function showThumbnail(image, number, digest) {
  image.dataset.digest = digest;
  const known = urls.get(digest);
  if (known) {
    urls.delete(digest);
    urls.set(digest, known);
    image.src = known;
    return;
  }
  image.removeAttribute("src");
  const entry = wanted.get(digest) ?? { number, images: new Set() };
  entry.images.add(image);
  wanted.delete(digest);
  wanted.set(digest, entry);
  next();
}

function next() {
  while (running < AT_ONCE && wanted.size) {
    const [digest, entry] = /** @type {[string, {number: number, images: Set<HTMLImageElement>}]} */ (
      [...wanted].at(-1)
    );
    wanted.delete(digest);
    const images = [...entry.images].filter(image => image.isConnected && image.dataset.digest === digest);
    if (!images.length) continue;
    running++;
    fetchThumbnail(entry.number).then(blob => {
      const url = URL.createObjectURL(blob);
      urls.set(digest, url);
      for (const image of images) if (image.dataset.digest === digest) image.src = url;
      for (const [oldest, dropped] of urls) {
        if (urls.size <= KEPT) break;
        urls.delete(oldest);
        URL.revokeObjectURL(dropped);
      }
    }, () => {}).finally(() => {
      running--;
      next();
    });
  }
}
