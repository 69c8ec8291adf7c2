/**
 * Keyboard shortcuts: what each command answers to, and how a key press is named. Pure.
 *
 * A combination is written "Ctrl+Shift+Z"; Ctrl stands for Command on a Mac. Shift is named with letters and named
 * keys only: "?" is "?" on every keyboard.
 */

/** @typedef {{key: string, code?: string, ctrlKey?: boolean, metaKey?: boolean, altKey?: boolean, shiftKey?: boolean,
 *   getModifierState?: (name: string) => boolean}} KeyPress */

/** Command -> combinations. The order is the order of the shortcut sheet. @type {Readonly<Record<string, string[]>>} */
export const DEFAULT_KEYS = Object.freeze({
  finish: ["Space", "Enter"],
  cancel: ["Escape"],
  removeLast: ["Backspace"],
  clearClicks: ["Shift+Backspace"],
  deleteObject: ["Delete"],
  undo: ["Ctrl+Z"],
  redo: ["Ctrl+Y", "Ctrl+Shift+Z"],
  clickTool: ["C"],
  brush: ["B"],
  eraser: ["E"],
  polygon: ["P"],
  swap: ["X"],
  smaller: ["["],
  larger: ["]"],
  preview: ["W"],
  loadMask: ["M"],
  largest: ["L"],
  fillHoles: ["G"],
  label1: ["1"],
  label2: ["2"],
  label3: ["3"],
  label4: ["4"],
  label5: ["5"],
  label6: ["6"],
  label7: ["7"],
  label8: ["8"],
  label9: ["9"],
  noLabel: ["0"],
  nextObject: ["D"],
  previousObject: ["A"],
  nextImage: ["F", "ArrowRight"],
  previousImage: ["S", "ArrowLeft"],
  nextUnfinished: ["N"],
  doneAndNext: ["Shift+Enter"],
  fit: ["Ctrl+0"],
  zoomIn: ["+", "="],
  zoomOut: ["-"],
  zoomObject: ["Z"],
  zoomFull: ["Shift+Z"],
  hide: ["H"],
  moreOpaque: ["O"],
  lessOpaque: ["Shift+O"],
  outline: ["T"],
  crosshair: ["K"],
  addHere: ["."],
  excludeHere: [","],
  help: ["?"],
});

const NAMED = Object.freeze({ " ": "Space", Spacebar: "Space", Esc: "Escape", Del: "Delete" });
const MODIFIERS = new Set([
  "Control",
  "Shift",
  "Alt",
  "Meta",
  "AltGraph",
  "CapsLock",
  "Dead",
  "Process",
  "Unidentified",
]);

/** The name of a key press; "" for a modifier on its own. @param {KeyPress} press */
export function comboOf(press) {
  if (MODIFIERS.has(press.key)) return "";
  let key = /** @type {Record<string, string>} */ (NAMED)[press.key] ?? press.key;
  // The digit row of a French keyboard gives digits with Shift only; the row is what is meant.
  const row = /^Digit(\d)$/.exec(press.code ?? "");
  if (row && !press.shiftKey && !/\d/.test(key)) key = row[1];
  const altGraph = press.getModifierState?.("AltGraph") ?? false; // Windows reports it as Ctrl+Alt
  const letter = /^\p{L}$/u.test(key);
  if (letter) key = key.toUpperCase();
  const parts = [];
  if ((press.ctrlKey || press.metaKey) && !altGraph) parts.push("Ctrl");
  if (press.altKey && !altGraph) parts.push("Alt");
  if (press.shiftKey && (letter || key.length > 1)) parts.push("Shift");
  return [...parts, key].join("+");
}

/** Whether a combination may be a shortcut: Tab moves between the controls. @param {string} combo */
export const isAssignable = (combo) => !/^(?:.*\+)?Tab$/.test(combo);

/** The shortcuts in force: the defaults with the user's changes; changes to unknown commands are left out.
 * @param {unknown} changed @returns {Record<string, string[]>} */
export function bindings(changed) {
  /** @type {Record<string, string[]>} */
  const out = {};
  const own = /** @type {Record<string, unknown>} */ (changed && typeof changed === "object" ? changed : {});
  for (const [command, combos] of Object.entries(DEFAULT_KEYS)) {
    const mine = own[command];
    out[command] = Array.isArray(mine)
      ? mine.filter((each) => typeof each === "string" && isAssignable(each))
      : [...combos];
  }
  return out;
}

/** Combination -> command. @param {Record<string, string[]>} bound @returns {Map<string, string>} */
export function lookup(bound) {
  const table = new Map();
  for (const [command, combos] of Object.entries(bound)) for (const combo of combos) table.set(combo, command);
  return table;
}

/** The other command that a combination belongs to, or "". @param {Record<string, string[]>} bound
 * @param {string} command @param {string} combo */
export const ownerOf = (bound, command, combo) =>
  Object.keys(bound).find((name) => name !== command && bound[name].includes(combo)) ?? "";

/** The bindings with `combo` given to `command` alone: it is taken from any other command.
 * @param {Record<string, string[]>} bound @param {string} command @param {string} combo */
export function assign(bound, command, combo) {
  /** @type {Record<string, string[]>} */
  const out = {};
  for (const [name, combos] of Object.entries(bound)) out[name] = combos.filter((each) => each !== combo);
  out[command] = [combo];
  return out;
}

/** What differs from the defaults: what is stored. @param {Record<string, string[]>} bound */
export function changes(bound) {
  const differs = ([name, combos] = /** @type {[string, string[]]} */ (["", []])) =>
    JSON.stringify(combos) !== JSON.stringify(DEFAULT_KEYS[name]);
  return Object.fromEntries(Object.entries(bound).filter(differs));
}

const SYMBOLS = Object.freeze({ ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc" });

/** The parts of a combination as printed on keys. @param {string} combo @param {boolean} mac */
export function keycaps(combo, mac) {
  const parts =
    combo === "+" ? ["+"] : combo.endsWith("++") ? [...combo.slice(0, -2).split("+"), "+"] : combo.split("+");
  return parts.map((part) => {
    if (mac && part === "Ctrl") return "⌘";
    return /** @type {Record<string, string>} */ (SYMBOLS)[part] ?? part;
  });
}
