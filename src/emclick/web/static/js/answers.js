/** What the server's answers do to the state. */

import { Refused, call } from "./api.js";
import { layOver } from "./edits.js";
import { applyLabelEdit } from "./labels.js";
import { deleteObject } from "./objects.js";
import { area, decodeCounts } from "./rle.js";
import { S } from "./strings.js";
import { applyAnswer } from "./store.js";

/**
 * @typedef {import("./app.js").App} App
 * @typedef {import("./types.js").Command} Command
 * @typedef {import("./types.js").ImageDetail} ImageDetail
 * @typedef {import("./types.js").Label} Label
 */

const TRIES = 4; // clicks may go on while the image is asked for
const RECORDED = new Set(["label", "color", "finished", "order"]); // in the image's history

/** Connects the outbox with the state. @param {App} app */
export function connectAnswers(app) {
  app.onAnswer = (command, answer) => {
    const seq = answer?.seq ?? answer?.detail?.seq;
    if (typeof seq === "number") app.answered.set(command.image, Math.max(seq, app.answered.get(command.image) ?? 0));
    (ON_ANSWER[command.kind] ?? onObject)(app, command, answer);
    noteProgress(app, command);
  };
  app.onRefused = (command, error) => onRefused(app, command, error);
  app.onFault = (error) => {
    reportError(error); // as one that nobody caught
    void refreshImage(app, true);
  };
}

/** @type {Partial<Record<import("./types.js").CommandKind, (app: App, command: Command, answer: any) => void>>} */
const ON_ANSWER = {
  create: onCreated,
  delete: (app, command, answer) => {
    if (answer?.objects) onImage(app, command, answer);
  },
  "image-undo": (app, command, answer) => {
    onImage(app, command, answer);
    app.announce(S.undone);
  },
  "image-redo": (app, command, answer) => {
    onImage(app, command, answer);
    app.announce(S.redone);
  },
  "image-patch": () => undefined,
  labels: onLabels,
  masks: (app, command, answer) => app.onFile(command, answer),
  import: (app, command, answer) => app.onFile(command, answer),
};

/** The object made here gets the server's name. @param {App} app @param {Command} command @param {any} answer */
function onCreated(app, command, answer) {
  const { objects, active, image } = app.state;
  app.named.set(command.object, answer.id);
  app.made.add(answer.id);
  if (image?.id !== command.image) return;
  objects.delete(command.object);
  // The object may have been discarded here while it was being made there: the deletion is in the outbox.
  const gone = app.outbox.of(answer.id).some((each) => each.kind === "delete");
  if (!gone) objects.set(answer.id, layOver(answer, app.outbox.of(answer.id), objects));
  app.store.set({ objects, ...(active === command.object ? { active: gone ? "" : answer.id } : {}) });
  if (command.body.clicks) onClicked(app, command, answer, answer);
}

/** @param {App} app @param {Command} command @param {any} answer */
function onObject(app, command, answer) {
  const object = app.state.objects.get(command.object);
  if (!object || !answer) return;
  const queued = app.outbox.of(command.object);
  const next = layOver(applyAnswer(object, answer), queued, app.state.objects);
  app.setObject(next);
  if (command.kind === "patch" && command.body.finished && !queued.length && isBlank(next)) {
    // What was taken away while it was being finished has left nothing of it.
    deleteObject(app, next.id);
    return;
  }
  if (command.kind === "click" || command.kind === "batch") onClicked(app, command, next, answer);
  if (command.kind === "clean") onCleaned(app, object, next);
  if (command.kind === "undo") app.announce(S.undone);
  if (command.kind === "redo") app.announce(S.redone);
}

/** @param {import("./types.js").Obj} object */
const isBlank = ({ clicks, rle }) => !clicks.length && !area(decodeCounts(rle.counts));

/** @param {App} app @param {import("./types.js").Obj} before @param {import("./types.js").Obj} after */
function onCleaned(app, before, after) {
  if (!area(decodeCounts(after.rle.counts))) app.toast(S.cleanedAway, "info");
  else if (before.rle.counts === after.rle.counts) app.toast(S.nothingToClean, "info");
}

/** @param {App} app @param {Command} command @param {import("./types.js").Obj} object @param {any} answer */
function onClicked(app, command, object, answer) {
  app.stage.live.preview = null;
  if (command.at !== undefined) {
    const { at } = command;
    app.stage.afterPaint(() => {
      const ms = performance.now() - at;
      app.addSample({ object: object.id, seq: answer.seq, ms, server_ms: answer.ms });
    });
  }
  const [h, w] = object.rle.size;
  app.announce(S.clicked(object.clicks.length, app.shapes.of(object).area / (h * w)));
}

/** @param {App} app @param {Command} command @param {ImageDetail} answer */
function onImage(app, command, answer) {
  if (app.state.image?.id !== command.image) return;
  const begun = new Set([...app.state.objects.values()].filter((each) => !each.finished).map((each) => each.id));
  takeImage(app, answer);
  // An object that is there again, or not finished any more, is the one to go on with.
  const back = [...app.state.objects.values()].filter((each) => !begun.has(each.id) && !each.finished);
  if (!app.state.active && back.length === 1) app.store.set({ active: back[0].id });
}

/** @param {App} app @param {Command} _ @param {{labels: Label[], detail: ImageDetail | null}} answer */
function onLabels(app, _, { labels, detail }) {
  setLabels(app, labels);
  if (!detail || app.state.image?.id !== detail.id) return;
  // A new name is a change of every object that has it: what waits for them is not to be taken for out of date.
  const { objects } = app.state;
  for (const theirs of detail.objects) {
    const mine = objects.get(theirs.id);
    const same = mine && (mine.base ?? mine.rle).counts === theirs.rle.counts;
    if (same && mine.seq < theirs.seq && JSON.stringify(mine.clicks) === JSON.stringify(theirs.clicks)) {
      objects.set(theirs.id, { ...mine, label: theirs.label, seq: theirs.seq });
    }
  }
  app.store.set({ objects });
}

/** The server's labels, with the edits that are still on their way. @param {App} app @param {Label[]} labels */
function setLabels(app, labels) {
  const { project } = app.state;
  if (!project) return;
  const waiting = app.outbox.commands.filter((each) => each.kind === "labels");
  const now = waiting.reduce((list, { body }) => applyLabelEdit(list, /** @type {any} */ (body)), labels);
  app.store.set({ project: { ...project, labels: now } });
}

/** Asks for the labels again. @param {App} app */
export async function refreshLabels(app) {
  const project = await call("GET", "api/project").catch(() => null);
  if (project) setLabels(app, project.labels);
}

/** An image as the server has it, no older than the last answer here. @param {App} app @param {string} id
 * @returns {Promise<ImageDetail>} */
export async function imageDetail(app, id) {
  for (let tries = 1; ; tries++) {
    const detail = await call("GET", `api/images/${encodeURIComponent(id)}`);
    if (detail.seq >= (app.answered.get(id) ?? 0) || tries === TRIES) return detail;
  }
}

/** The server's view of the open image, with what is still on its way laid over it.
 * @param {App} app @param {ImageDetail} detail */
export function takeImage(app, detail) {
  const objects = objectsOf(app, detail);
  const active = objects.has(app.state.active) ? app.state.active : "";
  app.store.set({ image: detail, objects, active });
  setEntry(app, detail.id, { status: detail.status, objects: objects.size });
}

/** An image's objects with all that is on its way. @param {App} app @param {ImageDetail} detail
 * @returns {Map<string, import("./types.js").Obj>} */
export function objectsOf(app, detail) {
  const objects = new Map(detail.objects.map((each) => [each.id, each]));
  for (const [id, mine] of app.state.objects) {
    if (mine.image !== detail.id) continue;
    const theirs = objects.get(id);
    if (theirs ? mine.seq > theirs.seq : id.startsWith("local:") && app.outbox.of(id).length) objects.set(id, mine);
  }
  for (const id of new Set(app.outbox.commands.map((each) => each.object))) {
    const [object, queued] = [objects.get(id), app.outbox.of(id)];
    if (!object) continue;
    if (queued.some((each) => each.kind === "delete")) objects.delete(id);
    else objects.set(id, layOver(object, queued, objects));
  }
  return objects;
}

/** @param {App} app @param {string} id @param {Partial<import("./types.js").ImageEntry>} part */
export function setEntry(app, id, part) {
  const at = app.state.images.findIndex((each) => each.id === id);
  if (at < 0) return;
  const entry = app.state.images[at];
  if (Object.entries(part).every(([name, value]) => /** @type {any} */ (entry)[name] === value)) return;
  const images = app.state.images.slice();
  images[at] = { ...entry, ...part };
  app.store.set({ images });
}

/** @param {App} app @param {Command} command */
function noteProgress(app, command) {
  const { image, objects } = app.state;
  if (!image || image.id !== command.image) return;
  const recorded = command.kind === "patch" && Object.keys(command.body).some((name) => RECORDED.has(name));
  if (recorded || command.kind === "create" || command.kind === "delete") {
    Object.assign(image, { can_undo: true, can_redo: false });
  }
  const n = objects.size;
  const status = image.status === "todo" && n ? "work" : image.status;
  if (status !== image.status) app.store.set({ image: { ...image, status } });
  setEntry(app, image.id, { status, objects: n });
}

/** @param {App} app @param {Command} command @param {unknown} error */
function onRefused(app, command, error) {
  if (error instanceof Refused && error.status === 409 && error.object) {
    app.stage.live.polygon = null;
    const { image, objects } = app.state;
    const { object } = error;
    if (image?.id === object.image) app.setObject(layOver(object, app.outbox.of(object.id), objects));
    // A stroke is painted on whatever mask there is when its turn comes.
    if (command.kind === "stroke" && !command.again) app.outbox.again({ ...command, again: true });
    else app.toast(S.stale, "error");
    return;
  }
  const why = error instanceof Refused ? error.message : String(error);
  app.toast(S.refused(why), "error");
  if (command.kind === "create") {
    app.state.objects.delete(command.object);
    app.store.set({ objects: app.state.objects, ...(app.state.active === command.object ? { active: "" } : {}) });
  }
  if (command.kind === "labels") void refreshLabels(app);
  if (app.state.image?.id === command.image) void refreshImage(app, true);
}

/** Asks for the open image again. @param {App} app @param {boolean} [force] the server's word counts, even if older */
export async function refreshImage(app, force = false) {
  const id = app.state.image?.id;
  if (!id) return;
  const detail = await imageDetail(app, id).catch(() => null);
  if (!detail || app.state.image?.id !== id) return;
  if (force) {
    for (const [name, mine] of app.state.objects) {
      if (!app.outbox.of(name).length) app.state.objects.set(name, { ...mine, seq: -1 });
      if (name.startsWith("local:") && !app.outbox.of(name).length) app.state.objects.delete(name);
    }
  }
  takeImage(app, detail);
}
