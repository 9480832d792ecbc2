// Photographs from a drop, a paste or a chooser; of a dropped folder its own name is the class.

/** @typedef {import("./teach-lesson.js").Photograph} Photograph */

/** Entries must be taken out of the event before it ends.
 * @param {DataTransfer} data @param {string | null} label of loose photographs; null is the tray
 * @returns {Promise<Photograph[]>} */
export async function dropped(data, label) {
  const entries = [...data.items].map(item => item.webkitGetAsEntry()), files = [...data.files];
  if (entries.every(entry => entry === null)) return files.map(file => ({ file, name: file.name, label }));
  const found = await Promise.all(entries.map(entry => (entry ? inside(entry, label, true) : [])));
  return found.flat();
}

/** A folder's photographs are of the class that its innermost name says, unless they are dropped on a basket.
 * @param {FileSystemEntry} entry @param {string | null} label @param {boolean} top @returns {Promise<Photograph[]>} */
async function inside(entry, label, top) {
  if (entry.name.startsWith(".")) return [];
  if (entry instanceof FileSystemFileEntry) {
    /** @type {File} */
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name: file.name, label }];
  }
  if (!(entry instanceof FileSystemDirectoryEntry)) return [];
  const entries = await children(entry), folders = entries.some(each => each.isDirectory);
  const own = label ?? (top && folders ? null : entry.name);
  return (await Promise.all(entries.map(each => inside(each, own, false)))).flat();
}

/** All entries of a folder: a reader gives a hundred at a time. @param {FileSystemDirectoryEntry} folder */
async function children(folder) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return found;
    found.push(...part);
  }
}

/** What a chooser of folders gave: each file is of the class that its folder says.
 * @param {FileList} files @returns {Photograph[]} */
export const chosenFolder = files => [...files]
  .filter(file => !file.webkitRelativePath.split("/").some(part => part.startsWith(".")))
  .map(file => ({ file, name: file.name, label: file.webkitRelativePath.split("/").at(-2) ?? null }));

/** What is dragged: images of the lesson. */
export const IMAGES = "application/x-vgglass-images";

/** An event whose detail are photographs that a person has chosen: the view sends them. */
export const PHOTOGRAPHS = "photographs";

/** @param {EventTarget} target @param {Photograph[]} photographs */
export function give(target, photographs) {
  target.dispatchEvent(new CustomEvent(PHOTOGRAPHS, { bubbles: true, detail: photographs }));
}
