/**
 * Colours for new labels, and changes to the list of labels. Each change is kept as what was done, not as the list it led
 * to: sent later, it leaves alone what others have done to the list meanwhile. Pure.
 *
 * @typedef {import("./types.js").Label} Label
 * @typedef {{op: "add", name: string, color: string} | {op: "remove", id?: number, name: string}
 *   | {op: "change", id?: number, name: string, part: {name?: string, color?: string}}} LabelEdit `name` and `id` say
 *   which label; the id is not known before the server has given one
 */

/** The list after an edit; the list itself if the edit says nothing new. @param {Label[]} labels
 * @param {LabelEdit} edit @returns {Label[]} */
export function applyLabelEdit(labels, edit) {
  if (edit.op === "add") {
    if (labels.some((each) => each.name === edit.name)) return labels;
    return [...labels, { name: edit.name, color: edit.color }];
  }
  const known = labels.some((each) => each.id !== undefined && each.id === edit.id);
  const meant = (/** @type {Label} */ each) => (known ? each.id === edit.id : each.name === edit.name);
  if (!labels.some(meant)) return labels;
  if (edit.op === "remove") return labels.filter((each) => !meant(each));
  return labels.map((each) => (meant(each) ? { ...each, ...edit.part } : each));
}

const CLOSE = 120; // colours nearer than this are taken for each other on a photograph

/** The first colour that is not in use nor close to one that is; without one the farthest from all in use, or, all
 * being in use, any.
 * @param {readonly string[]} palette strongest first @param {readonly string[]} used "#rrggbb" */
export function freshColour(palette, used) {
  const room = palette.map((each) => Math.min(...used.map((other) => colourDistance(each, other))));
  const free = room.findIndex((each) => each > CLOSE);
  const most = Math.max(...room);
  if (free >= 0) return palette[free];
  return palette[most > 0 ? room.indexOf(most) : used.length % palette.length];
}

/** How different two colours look, 0 to 765: Euclidean in RGB, weighted by how red they are ("redmean").
 * @param {string} one "#rrggbb" @param {string} other */
export function colourDistance(one, other) {
  const [r1, g1, b1] = channels(one);
  const [r2, g2, b2] = channels(other);
  const red = (r1 + r2) / 512;
  return Math.sqrt((2 + red) * (r1 - r2) ** 2 + 4 * (g1 - g2) ** 2 + (3 - red) * (b1 - b2) ** 2);
}

/** @param {string} colour */
const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16) || 0);
