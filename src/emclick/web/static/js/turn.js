/**
 * Changes that hang on what the ones before them come to. They wait in the outbox without a path; what is to be asked
 * of the server is known when their turn comes.
 */

import { Refused, call } from "./api.js";
import { paintStrokes } from "./edits.js";
import { S } from "./strings.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {import("./types.js").Command} Command
 * @typedef {import("./types.js").Obj} Obj
 * @typedef {{can_undo: boolean, can_redo: boolean}} History
 */

export const MASK_PATH = "api/objects/{object}/mask";

/** The change as it is to be sent, and the number of the object that it is for; null if nothing is left to do.
 * @param {App} app @param {Command} command @returns {Promise<{command: Command, seq: number | undefined} | null>} */
export async function onTurn(app, command) {
  const { image, objects } = await newest(app, command);
  const object = objects.get(command.object);
  if (command.kind === "stroke") {
    if (!object) throw new Refused(404, "not_found", S.objectGone, null);
    // Painted again each time it is sent: the key keeps it from being made twice.
    const rle = paintStrokes(object.base ?? object.rle, [/** @type {any} */ (command.body)], objects);
    return { command: { ...command, path: MASK_PATH, body: { rle, kind: "brush" } }, seq: object.seq };
  }
  const request =
    command.kind === "remove" ? removal(command, object) : step(command, object ?? goneOnWith(app, command), image);
  if (!request) {
    if (command.kind !== "remove") app.toast(command.kind === "undo" ? S.nothingToUndo : S.nothingToRedo, "info");
    return null;
  }
  // Sent again, it is to be the same request, even by the next page, of the state that it was made for.
  Object.assign(command, request, { seq: request.object === "" ? undefined : (request.seq ?? object?.seq) });
  app.outbox.save();
  return { command, seq: command.seq };
}

/** For a step back when nothing was being worked on: the object that an earlier step has brought back since.
 * @param {App} app @param {Command} command */
function goneOnWith(app, command) {
  const { active } = app;
  const own = !command.object && active?.image === command.image && !active.id.startsWith("local:");
  return own && app.outbox.of(active.id).every(({ kind }) => kind === "undo" || kind === "redo") ? active : undefined;
}

/** The image and its objects after all changes so far, whichever image is open.
 * @param {App} app @param {Command} command @returns {Promise<{image: History, objects: Map<string, Obj>}>} */
async function newest(app, command) {
  const { image, objects } = app.state;
  if (image?.id === command.image && (!command.object || objects.has(command.object))) return { image, objects };
  const detail = await call("GET", `api/images/${encodeURIComponent(command.image)}`);
  return { image: detail, objects: new Map(detail.objects.map((/** @type {Obj} */ each) => [each.id, each])) };
}

/** @param {Command} command @param {Obj | undefined} object @returns {Partial<Command> | null} */
function removal({ body }, object) {
  const n = clickNumber(object?.clicks ?? [], /** @type {any} */ (body.click));
  return n < 0 ? null : { path: `api/objects/{object}/clicks/${n}` };
}

/** The number that a click has now, of the newest if none is named; -1 if it is gone.
 * @param {readonly import("./types.js").Click[]} clicks @param {import("./types.js").Click} [click] */
export const clickNumber = (clicks, click) =>
  click
    ? clicks.findLastIndex((each) => each.x === click.x && each.y === click.y && each.positive === click.positive)
    : clicks.length - 1;

/** The object's history first, then its image's.
 * @param {Command} command @param {Obj | undefined} object @param {History} image @returns {Partial<Command> | null} */
function step({ kind, image: id }, object, image) {
  const can = kind === "undo" ? "can_undo" : "can_redo";
  if (object?.[can]) return { object: object.id, seq: object.seq, path: `api/objects/{object}/${kind}` };
  if (!image[can]) return null;
  const whole = /** @type {"image-undo" | "image-redo"} */ (`image-${kind}`);
  return { kind: whole, object: "", path: `api/images/${encodeURIComponent(id)}/${kind}` };
}
