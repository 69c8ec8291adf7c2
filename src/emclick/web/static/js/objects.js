/** What a person can do with objects: click, finish, discard, undo, relabel, clean up. */

import { newKey } from "./api.js";
import { layOver } from "./edits.js";
import { isInside } from "./geometry.js";
import { applyLabelEdit } from "./labels.js";
import { covers } from "./rle.js";
import { S } from "./strings.js";
import { PALETTE, isAway, localObject, ordered } from "./store.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {import("./types.js").Obj} Obj
 * @typedef {import("./types.js").Click} Click
 */

/** What undo takes back by not sending it. */
const WITHDRAWN = new Set(["click", "batch", "stroke", "mask"]);

/** Makes an object here and asks the server for it; later changes may follow at once. @param {App} app
 * @param {{rle?: import("./types.js").Rle, clicks?: Click[]}} part what it begins with
 * @param {number} [at] performance.now() of the press @returns {string} its local name */
export function createObject(app, part, at) {
  const image = app.state.image;
  if (!image) throw new Error("no image is open");
  const key = newKey();
  const id = `local:${key}`;
  const orders = [...app.state.objects.values()].map((each) => each.order);
  const order = Math.max(-1, ...orders) + 1;
  const label = app.state.settings.label;
  const known = app.state.project?.labels.some((each) => each.name === label) ?? false;
  const body = known ? { label, ...part } : { color: PALETTE[order % PALETTE.length], ...part };
  app.made.add(id);
  // The clicks are the object's when the server has answered.
  app.setObject(localObject(id, image.id, [image.height, image.width], { order, ...body, clicks: [] }));
  app.store.set({ active: id });
  app.outbox.push({
    key,
    kind: "create",
    image: image.id,
    object: id,
    method: "POST",
    path: `api/images/${encodeURIComponent(image.id)}/objects`,
    body,
    at,
  });
  return id;
}

/** Whether the object may be changed; says so if not. @param {App} app @param {Obj} object */
function mayChange(app, object) {
  if (object.locked) app.toast(S.lockedObject, "error");
  else if (!object.visible && app.state.active === object.id) patchObject(app, object.id, { visible: true });
  return !object.locked;
}

/** @param {App} app @param {Obj | null} object */
const isEmpty = (app, object) =>
  !object || (!object.clicks.length && !app.unsent(object.id).length && !hasMask(app, object));

/** @param {App} app @param {Obj} object */
const hasMask = (app, object) => object.rle.counts !== "" && app.shapes.of(object).area > 0;

/** A click at an image point, on the object being worked on or a new one. @param {App} app @param {Click} click
 * @param {number} at performance.now() of the press */
export function clickAt(app, click, at) {
  const { image, loading } = app.state;
  if (!image || loading || !isInside(image, click)) return;
  const active = app.active;
  if (active && !mayChange(app, active)) return;
  if (!click.positive && isEmpty(app, active)) {
    app.toast(app.state.swapped ? S.firstMustIncludeSwapped : S.firstMustInclude, "info");
    return;
  }
  if (active) app.change("click", active.id, "POST", "api/objects/{object}/clicks", { ...click }, at);
  else createObject(app, { clicks: [{ ...click }] }, at);
}

/** Collects a click; they are sent together by `sendBatch`. @param {App} app @param {Click} click */
export function collect(app, click) {
  const { image, loading } = app.state;
  if (!image || loading || !isInside(image, click)) return;
  if (!click.positive && !app.state.batch.length && isEmpty(app, app.active)) {
    app.toast(S.firstMustInclude, "info");
    return;
  }
  app.store.set({ batch: [...app.state.batch, click] });
}

/** @param {App} app */
export function sendBatch(app) {
  const { batch } = app.state;
  if (!batch.length) return;
  app.store.set({ batch: [] });
  const active = app.active;
  if (active && !mayChange(app, active)) return;
  const now = performance.now();
  if (active) app.change("batch", active.id, "POST", "api/objects/{object}/clicks/batch", { clicks: batch }, now);
  else createObject(app, { clicks: batch }, now);
}

/** Takes a click away. Its number is looked up when the changes before have been answered: it may be another by then,
 * or the click gone. @param {App} app @param {Click} [click] the newest if none is given */
export function removeClick(app, click) {
  const active = app.active;
  if (!active || !mayChange(app, active)) return;
  app.stage.live.hovered = -1;
  app.change("remove", active.id, "DELETE", "", click ? { click } : {});
}

/** @param {App} app */
export function removeLastClick(app) {
  if (app.state.batch.length) {
    app.store.set({ batch: app.state.batch.slice(0, -1) });
    return;
  }
  removeClick(app);
}

/** @param {App} app */
export function resetObject(app) {
  app.store.set({ batch: [] });
  const active = app.active;
  if (active && mayChange(app, active)) app.change("reset", active.id, "POST", "api/objects/{object}/reset");
}

/** Done with the object; the tool stays. @param {App} app */
export function finish(app) {
  sendBatch(app);
  const active = app.active;
  if (!active) return;
  if (isEmpty(app, active)) {
    discard(app);
    return;
  }
  if (!active.finished) {
    if (app.state.settings.avoid) clean(app, "avoid");
    patchObject(app, active.id, { finished: true });
    app.announce(S.objectFinished);
  }
  select(app, "");
}

/** Esc: first what was begun last. @param {App} app */
export function cancel(app) {
  if (app.state.batch.length) {
    app.store.set({ batch: [] });
    return;
  }
  const active = app.active;
  if (!active) return;
  // What was loaded from a file, or begun before a reload, is put down and not thrown away.
  if (active.finished || active.locked || !app.made.has(active.id)) select(app, "");
  else {
    const empty = isEmpty(app, active);
    discard(app);
    if (!empty) app.toast(S.objectDiscardedUndo, "info");
  }
}

/** @param {App} app */
export function discard(app) {
  const active = app.active;
  if (!active) return;
  deleteObject(app, active.id);
  app.announce(S.objectDiscarded);
}

/** @param {App} app @param {string} id @returns {boolean} false: it is locked, or not there */
export function deleteObject(app, id) {
  const object = app.state.objects.get(id);
  if (!object) return false;
  if (object.locked) {
    app.toast(S.lockedObject, "error");
    return false;
  }
  app.change("delete", id, "DELETE", "api/objects/{object}");
  app.state.objects.delete(id);
  app.store.set({ objects: app.state.objects, ...(app.state.active === id ? { active: "" } : {}) });
  return true;
}

/** @param {App} app @param {string} id "" for none */
export function select(app, id) {
  app.stage.live.preview = null;
  app.stage.live.hovered = -1;
  app.stage.live.polygon = null;
  app.store.set({ active: id });
}

/**
 * The topmost object under an image point becomes the one worked on.
 * @param {App} app
 * @param {{x: number, y: number}} point
 */
export function pickAt(app, point) {
  const [x, y] = [Math.round(point.x), Math.round(point.y)];
  const hit = ordered(app.state.objects)
    .reverse()
    .find((each) => {
      if (!each.visible || !each.rle.counts) return false;
      const shape = app.shapes.of(each);
      const { box } = shape;
      const inBox = x >= box.x && y >= box.y && x < box.x + box.w && y < box.y + box.h;
      return inBox && covers(shape.runs, shape.height, x, y);
    });
  select(app, hit?.id ?? "");
  if (hit) app.announce(S.objectSelected(nameOf(app, hit)));
}

/** @param {App} app @param {1 | -1} step */
export function selectNext(app, step) {
  const list = ordered(app.state.objects);
  if (!list.length) return;
  const at = list.findIndex((each) => each.id === app.state.active);
  const next = list[at < 0 ? (step > 0 ? 0 : list.length - 1) : (at + step + list.length) % list.length];
  select(app, next.id);
  app.announce(S.objectSelected(nameOf(app, next)));
}

/** @param {App} app @param {Obj} object */
export function nameOf(app, object) {
  const place = ordered(app.state.objects).findIndex((each) => each.id === object.id) + 1;
  return object.label ? `${object.label} ${place}` : S.object(place);
}

/** @param {App} app @param {string} id @param {Partial<Obj>} part @param {boolean} [dragged] only the newest counts */
export function patchObject(app, id, part, dragged = false) {
  const object = app.state.objects.get(id);
  if (!object) return;
  app.setObject({ ...object, ...part });
  const command = {
    key: newKey(),
    kind: /** @type {const} */ ("patch"),
    image: object.image,
    object: id,
    method: "PATCH",
    path: "api/objects/{object}",
    body: { ...part },
  };
  if (dragged) app.outbox.pushLatest(command);
  else app.outbox.push(command);
}

/**
 * Picks a label for new objects and gives it to the one being worked on.
 * @param {App} app
 * @param {string} name "" for none
 */
export function pickLabel(app, name) {
  app.store.setSettings({ label: name });
  const active = app.active;
  if (active && active.label !== name && mayChange(app, active)) {
    // The label's colour takes the place of the one given when there was no label.
    patchObject(app, active.id, name ? { label: name, color: null } : { label: name });
  }
}

/** Changes the list of labels; a new name goes to the objects too. @param {App} app
 * @param {import("./labels.js").LabelEdit} edit */
export function editLabels(app, edit) {
  const { project, image, objects, settings } = app.state;
  if (!project) return;
  const name = edit.op === "change" ? edit.part.name : undefined;
  if (name !== undefined && name !== edit.name) {
    for (const [id, each] of objects) if (each.label === edit.name) objects.set(id, { ...each, label: name });
    if (settings.label === edit.name) app.store.setSettings({ label: name });
  }
  app.store.set({ project: { ...project, labels: applyLabelEdit(project.labels, edit) }, objects });
  app.outbox.push({
    key: newKey(),
    kind: "labels",
    image: image?.id ?? "",
    object: "",
    method: "PUT",
    path: "api/project/labels",
    body: edit,
  });
}

/** @param {App} app @param {"largest" | "fill" | "min_area" | "avoid"} op */
export function clean(app, op) {
  const active = app.active;
  if (!active) {
    app.toast(S.noObject, "info");
    return;
  }
  if (!mayChange(app, active)) return;
  const body = op === "min_area" ? { op, area: app.state.settings.minArea } : { op };
  app.change("clean", active.id, "POST", "api/objects/{object}/clean", body);
}

/** Takes the last step back: the current object's history first, then its image's. Which of them it is shows when the
 * changes before have been answered. @param {App} app */
export function undo(app) {
  if (app.state.batch.length) {
    app.store.set({ batch: app.state.batch.slice(0, -1) });
    return;
  }
  goBack(app, "undo");
}

/** @param {App} app */
export const redo = (app) => goBack(app, "redo");

/** @param {App} app @param {"undo" | "redo"} which */
function goBack(app, which) {
  const { image, loading, active, connection } = app.state;
  const object = app.active;
  if (!image || loading) return;
  if (object?.locked) {
    app.toast(S.lockedObject, "error");
    return;
  }
  if (isAway(connection)) {
    const last = object && app.outbox.of(object.id).at(-1);
    if (which === "undo" && last && WITHDRAWN.has(last.kind) && app.outbox.withdraw(last)) {
      app.setObject(layOver(object, app.outbox.of(object.id), app.state.objects));
      return;
    }
    app.toast(which === "undo" ? S.undoWaits : S.redoWaits, "info");
  }
  app.outbox.push({
    key: newKey(),
    kind: which,
    image: image.id,
    object: active,
    method: "POST",
    path: "",
    body: {},
  });
}
