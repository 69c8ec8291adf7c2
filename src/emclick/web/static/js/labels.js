/**
 * Changes to the list of labels. Each is kept as what was done, not as the list it led to: sent later, it leaves alone
 * what others have done to the list meanwhile. Pure.
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
