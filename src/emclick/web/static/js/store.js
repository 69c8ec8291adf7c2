/**
 * The page's state and the pure steps that change it. What the server has said is kept apart from what is on the
 * way.
 */

/**
 * @typedef {import("./types.js").Obj} Obj
 * @typedef {import("./types.js").Answer} Answer
 * @typedef {import("./types.js").Label} Label
 * @typedef {import("./types.js").ImageEntry} ImageEntry
 * @typedef {import("./types.js").Settings} Settings
 * @typedef {import("./types.js").Status} Status
 *
 * @typedef {object} State
 * @property {import("./types.js").Project | null} project
 * @property {ImageEntry[]} images
 * @property {"all" | Status} filter
 * @property {string} search
 * @property {import("./types.js").ImageDetail | null} image the open image; its objects are in `objects`
 * @property {Map<string, Obj>} objects of the open image, by id ("local:KEY" until the server has named it)
 * @property {string} active the id of the object being worked on, or ""
 * @property {import("./types.js").Tool} tool
 * @property {boolean} swapped the left button excludes
 * @property {import("./types.js").Click[]} batch clicks collected with Ctrl held
 * @property {Settings} settings
 * @property {import("./types.js").Connection} connection
 * @property {string} why what the server says while it cannot store, or ""
 * @property {number} waiting changes not yet answered
 * @property {boolean} hidden masks are hidden while the key is held
 * @property {boolean} crosshair the keyboard's cursor is shown
 * @property {boolean} busy an answer is late: show that work is going on
 * @property {string} loading the id of the image on its way, or ""
 * @property {string} opened the id of the image that was opened last, even if it cannot be shown
 * @property {string} problem why it cannot be shown, or ""
 */

/** @type {Readonly<Settings>} */
export const DEFAULT_SETTINGS = Object.freeze({
  theme: "auto",
  opacity: 0.45,
  outline: true,
  brightness: 1,
  contrast: 1,
  brushSize: 24,
  preview: false,
  avoid: false,
  minArea: 64,
  label: "",
  image: "",
  keys: {},
});

/** Told apart by hue and lightness, on photographs and on both themes. */
export const PALETTE = Object.freeze([
  "#2f9bff",
  "#ff7a1a",
  "#21c25e",
  "#f0409a",
  "#a06bff",
  "#ffd21f",
  "#10c9c3",
  "#ff4d4d",
  "#9ad41c",
  "#5b6dff",
  "#e58fff",
  "#c98b4a",
]);

/** @returns {State} */
export const initialState = () => ({
  project: null,
  images: [],
  filter: "all",
  search: "",
  image: null,
  objects: new Map(),
  active: "",
  tool: "click",
  swapped: false,
  batch: [],
  settings: { ...DEFAULT_SETTINGS },
  connection: "saved",
  why: "",
  waiting: 0,
  hidden: false,
  crosshair: false,
  busy: false,
  loading: "",
  opened: "",
  problem: "",
});

/** A state that tells its listeners, once per turn, which parts have changed. */
export class Store {
  constructor(state = initialState()) {
    this.state = state;
    /** @type {{parts: Set<string> | null, listener: (state: State) => void}[]} */
    this.listeners = [];
    /** @type {Set<string>} */
    this.changed = new Set();
  }

  /** @param {Partial<State>} part */
  set(part) {
    Object.assign(this.state, part);
    if (!this.changed.size) queueMicrotask(() => this.tell());
    for (const name of Object.keys(part)) this.changed.add(name);
  }

  /** @param {(keyof State)[]} parts none: all @param {(state: State) => void} listener */
  on(parts, listener) {
    this.listeners.push({ parts: parts.length ? new Set(parts) : null, listener });
  }

  /** @param {Partial<Settings>} part */
  setSettings(part) {
    this.set({ settings: { ...this.state.settings, ...part } });
  }

  tell() {
    const changed = this.changed;
    this.changed = new Set();
    for (const { parts, listener } of this.listeners) {
      if (!parts || [...changed].some((name) => parts.has(name))) listener(this.state);
    }
  }
}

/** The object with an answer's news, as the server has it; the object itself if the answer is older than what is known.
 * @param {Obj} object @param {Partial<Obj> & Partial<Answer>} answer @returns {Obj} */
export function applyAnswer(object, answer) {
  if (answer.seq !== undefined && answer.seq < object.seq) return object;
  const news = /** @type {Record<string, unknown>} */ ({});
  for (const name of ANSWERED) {
    const value = /** @type {Record<string, unknown>} */ (answer)[name];
    if (value !== undefined) news[name] = value;
  }
  const { base, ...rest } = object;
  return { ...rest, rle: base ?? object.rle, ...news };
}

const ANSWERED = Object.freeze([
  "seq",
  "rle",
  "clicks",
  "can_undo",
  "can_redo",
  "label",
  "color",
  "visible",
  "locked",
  "finished",
  "order",
  "threshold",
]);

/** A place for an object that the server has not named yet. @param {string} id @param {string} image
 * @param {[number, number]} hw @param {Partial<Obj>} part @returns {Obj} */
export const localObject = (id, image, hw, part) => ({
  id,
  image,
  label: "",
  color: null,
  visible: true,
  locked: false,
  finished: false,
  order: Number.MAX_SAFE_INTEGER,
  seq: 0,
  clicks: [],
  rle: { size: hw, counts: "" },
  threshold: 0.5,
  can_undo: false,
  can_redo: false,
  ...part,
});

/** @param {Map<string, Obj>} objects @returns {Obj[]} */
export const ordered = (objects) => [...objects.values()].sort((a, b) => a.order - b.order);

/** An object's colour: its own, its label's, else one of the palette by its place.
 * @param {Obj} object @param {readonly Label[]} labels */
export function colourOf(object, labels) {
  if (object.color) return object.color;
  const label = labels.find((each) => each.name === object.label);
  if (label?.color) return label.color;
  const place = object.order < Number.MAX_SAFE_INTEGER ? object.order : hash(object.id);
  return PALETTE[Math.abs(Math.trunc(place)) % PALETTE.length];
}

/** @param {string} text */
function hash(text) {
  let sum = 7;
  for (let i = 0; i < text.length; i++) sum = (sum * 31 + text.charCodeAt(i)) >>> 0;
  return sum;
}

/** @param {readonly ImageEntry[]} images @param {"all" | Status} filter @param {string} search */
export function filterImages(images, filter, search) {
  const wanted = search.trim().toLocaleLowerCase();
  return images.filter(
    (each) =>
      (filter === "all" || (each.status === filter && !each.problem)) &&
      (!wanted || each.name.toLocaleLowerCase().includes(wanted)),
  );
}

/** @param {readonly ImageEntry[]} images @returns {Record<Status, number>} */
export function countStatus(images) {
  const counts = { todo: 0, work: 0, done: 0 };
  for (const each of images) counts[each.status] = (counts[each.status] ?? 0) + 1;
  return counts;
}

/** The next image in the list; the ends do not meet. @param {readonly ImageEntry[]} images @param {string} id
 * @param {1 | -1} step */
export function neighbour(images, id, step) {
  const at = images.findIndex((each) => each.id === id);
  return at < 0 ? (images[0] ?? null) : (images[at + step] ?? null);
}

/** The next image that is not done, going round. @param {readonly ImageEntry[]} images @param {string} id */
export function nextUnfinished(images, id) {
  const at = images.findIndex((each) => each.id === id);
  const turned = [...images.slice(at + 1), ...images.slice(0, Math.max(at, 0))];
  return turned.find((each) => each.status !== "done" && !each.problem) ?? null;
}

/** Stored settings with anything unusable replaced by the default. @param {unknown} stored @returns {Settings} */
export function readSettings(stored) {
  const given = /** @type {Record<string, unknown>} */ (stored && typeof stored === "object" ? stored : {});
  const out = /** @type {Record<string, unknown>} */ ({ ...DEFAULT_SETTINGS });
  for (const [name, value] of Object.entries(DEFAULT_SETTINGS)) {
    if (typeof given[name] === typeof value && given[name] !== null && !Number.isNaN(given[name])) {
      out[name] = given[name];
    }
  }
  const between = (/** @type {string} */ name, /** @type {number} */ low, /** @type {number} */ high) =>
    (out[name] = Math.min(Math.max(/** @type {number} */ (out[name]), low), high));
  between("opacity", 0, 1);
  between("brightness", 0.2, 3);
  between("contrast", 0.2, 3);
  between("brushSize", 1, 500);
  return /** @type {Settings} */ (out);
}

/** The objects that others keep out of: finished or locked, as for the server's clean-up. Not `id`.
 * @param {Map<string, Obj>} objects @param {string} id */
export const protectedObjects = (objects, id) =>
  [...objects.values()].filter((each) => (each.finished || each.locked) && each.id !== id);

/** Whether changes cannot be stored now. @param {import("./types.js").Connection} connection */
export const isAway = (connection) => connection !== "saved" && connection !== "saving";
