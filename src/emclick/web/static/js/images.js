/** Opening images, going from one to the next, marking them done. */

import { call } from "./api.js";
import { finish } from "./objects.js";
import { prepareLevels } from "./picture.js";
import { Denied, NotStored, Unreachable } from "./queue.js";
import { imageDetail, objectsOf, refreshImage, setEntry } from "./answers.js";
import { S } from "./strings.js";
import { filterImages, neighbour, nextUnfinished } from "./store.js";

/** @typedef {import("./app.js").App} App */

const RETRY_MS = 1500;

/** The images that the list shows. @param {App} app */
export const listed = (app) => filterImages(app.state.images, app.state.filter, app.state.search);

/** Opens an image: its objects and its picture appear together. @param {App} app @param {string} id
 * @param {boolean} [resume] go on with the object that was being worked on */
export async function openImage(app, id, resume = false) {
  if (!id || app.state.loading === id || (app.state.opened === id && !app.state.loading)) return;
  app.endGesture();
  app.store.set({ loading: id });
  const path = `api/images/${encodeURIComponent(id)}`;
  const entry = app.state.images.find((each) => each.id === id);
  // The server starts to prepare the first click.
  if (!entry?.problem) void call("POST", `${path}/open`).catch(() => undefined);
  try {
    if (app.outbox.commands.some((each) => each.image === id)) await app.outbox.settled(3000);
    if (entry?.problem) throw new Error(entry.problem);
    const { detail, picture } = await patiently(app, id, async () => {
      const first = await app.pictures.get(entry ?? { id, version: "" });
      app.overtaken.delete(id);
      return { picture: first, detail: await imageDetail(app, id) }; // last: it is to be the newest
    });
    if (app.state.loading !== id) return; // another one has been asked for since
    if (app.active) finish(app);
    app.pictures.shown = id;
    app.stage.live.crosshair = null;
    app.stage.live.polygon = null;
    app.clearToasts();
    const objects = objectsOf(app, detail);
    const active = resume ? begun(detail) : "";
    app.store.set({ image: detail, objects, active, batch: [], loading: "", opened: id, problem: "" });
    app.shapes.forget(objects);
    app.stage.show(picture, false);
    history.replaceState(null, "", `${location.pathname}#image=${encodeURIComponent(id)}`);
    app.store.setSettings({ image: id });
    app.announce(S.imageOpened(detail.name));
    void prepareLevels(picture).then(() => app.stage.paint("picture"));
    if (app.overtaken.delete(id)) void refreshImage(app);
    const next = neighbour(listed(app), id, 1);
    if (next && !next.problem) void app.pictures.prefetch(next);
  } catch (error) {
    if (app.state.loading !== id) return;
    if (isKept(error)) {
      app.store.set({ loading: "" });
      app.toast(error instanceof NotStored ? S.refused(error.message) : S.needServer, "error");
      return;
    }
    const why = error instanceof Error ? error.message : String(error);
    if (app.active) finish(app);
    app.clearToasts();
    app.store.set({
      image: null,
      objects: new Map(),
      active: "",
      batch: [],
      loading: "",
      opened: id,
      problem: S.loadFailed(why),
    });
    app.stage.show(null, false);
    app.announce(S.loadFailed(why));
  }
}

/** @param {unknown} error */
const isKept = (error) => error instanceof Unreachable || error instanceof Denied;

/** What `ask` gives. As long as the stage is empty there is nothing to go on with: it asks until the server is there.
 * @template T @param {App} app @param {string} id @param {() => Promise<T>} ask @returns {Promise<T>} */
async function patiently(app, id, ask) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!isKept(error) || app.state.opened || app.state.loading !== id) throw error;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

/** The newest object that is not finished. @param {import("./types.js").ImageDetail} detail */
function begun({ objects }) {
  const open = objects.filter((each) => !each.finished && each.clicks.length);
  return open.sort((a, b) => b.seq - a.seq)[0]?.id ?? "";
}

/** @param {App} app @param {1 | -1} step */
export function stepImage(app, step) {
  const id = app.state.loading || app.state.opened;
  const next = neighbour(listed(app), id, step);
  if (next) void openImage(app, next.id);
  else app.toast(!listed(app).length ? S.noneListed : step > 0 ? S.lastImage : S.firstImage, "info");
}

/** @param {App} app */
export function openNextUnfinished(app) {
  const next = nextUnfinished(app.state.images, app.state.opened);
  if (next) void openImage(app, next.id);
  else app.toast(app.state.images.every((each) => each.status === "done") ? S.allDone : S.othersDone, "info");
}

/** @param {App} app @param {import("./types.js").Status} status */
export function setStatus(app, status) {
  const image = app.state.image;
  if (!image) return;
  app.store.set({ image: { ...image, status } });
  setEntry(app, image.id, { status });
  app.changeImage("image-patch", image.id, "PATCH", `api/images/${encodeURIComponent(image.id)}`, { status });
}

/** @param {App} app */
export function toggleDone(app) {
  const image = app.state.image;
  if (!image) return;
  finish(app);
  setStatus(app, image.status !== "done" ? "done" : app.state.objects.size ? "work" : "todo");
}

/** @param {App} app */
export function doneAndNext(app) {
  if (!app.state.image) return;
  finish(app);
  setStatus(app, "done");
  openNextUnfinished(app);
}
