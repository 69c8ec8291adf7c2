/** Keeps the page and the server in step: changes made in other windows, the server going and coming back. */

import { call } from "./api.js";
import { refreshImage, refreshLabels, setEntry } from "./answers.js";
import { Denied, readStored } from "./queue.js";
import { isAway } from "./store.js";
import { S } from "./strings.js";

/** @typedef {import("./app.js").App} App */

const QUIET_MS = 150; // shorter waits are not shown
const POLL_S = 20;
const RETRY_MS = 1500;
const HICCUP_MS = 300;
const PAUSE_MS = 250; // clicks go before news
const OTHERS_MS = 400;
const FEW = 10;
const MODEL_WORKS = new Set(["click", "batch", "remove", "undo", "redo", "reset", "clean"]);

/** Shows whether everything is saved. @param {App} app */
export function connectQueue(app) {
  let timer = 0;
  let late = false;
  app.onQueue = (trouble) => {
    const waiting = app.outbox.commands.length;
    app.store.set({ waiting });
    if (!waiting) {
      clearTimeout(timer);
      timer = 0;
      late = false;
    } else if (!timer) {
      timer = window.setTimeout(() => {
        late = true;
        if (app.outbox.commands.length) update();
      }, QUIET_MS);
    }
    if (trouble === "full") app.toast(S.storageFull, "error");
    update();
  };
  const update = () => {
    const { trouble, commands } = app.outbox;
    const before = app.state.connection;
    /** @type {import("./types.js").Connection} */
    let now;
    if (trouble === "denied" || trouble === "storage") now = trouble;
    else if (trouble) now = "offline";
    else if (commands.length && !app.reachable) now = before;
    else if (commands.length) now = late || isAway(before) ? "saving" : before;
    else if (before === "saving" || before === "saved") now = "saved";
    else now = app.reachable ? "saved" : before;
    const first = commands[0];
    const works = first && (MODEL_WORKS.has(first.kind) || Boolean(first.body.clicks));
    const busy = late && Boolean(works) && !trouble;
    const { why } = app.outbox;
    if (now !== before || busy !== app.state.busy || why !== app.state.why) {
      app.store.set({ connection: now, busy, why });
    }
  };
}

/**
 * Sends what an earlier page on this address left behind.
 * @param {App} app
 * @param {Storage} storage
 * @param {string} prefix
 */
export async function adoptStored(app, storage, prefix) {
  /** @type {import("./types.js").Command[]} */
  const left = [];
  for (const name of Object.keys(storage)) {
    if (!name.startsWith(prefix) || name === app.outbox.options.name || (await isHeld(name))) continue;
    left.push(...readStored(storage.getItem(name)));
    storage.removeItem(name);
  }
  if (!left.length) return;
  app.toast(S.resent(left.length), "info");
  app.outbox.adopt(left);
}

/** Whether another window is open that has these changes. Browsers tell on pages from this machine or by https; else
 * they count as left. @param {string} name */
const isHeld = (name) =>
  navigator.locks?.request(name, { ifAvailable: true }, (lock) => Promise.resolve(!lock)) ?? false;

/** Names this window's storage for the project, and holds the name as long as the window is open.
 * @param {App} app @param {string} name */
export function holdOutbox(app, name) {
  app.outbox.options.name = name;
  void navigator.locks?.request(name, () => new Promise(() => undefined));
}

/** After a failure: whether it is still the same project that answers. @param {App} app */
export function guardProject(app) {
  app.beforeSending = async () => {
    if (!app.outbox.trouble) return;
    const project = await call("GET", "api/project");
    if (project.id !== app.state.project?.id) throw new Denied("another project");
  };
}

/** Follows the server's changes for as long as the page is open. @param {App} app */
export async function follow(app) {
  let since = app.state.project?.seq ?? 0;
  let failures = 0;
  for (;;) {
    if (document.hidden) await visible();
    try {
      const wait = app.reachable ? POLL_S : 0; // a server that is back is to be known at once
      const news = await call("GET", `api/changes?since=${since}&wait=${wait}`, {
        timeout_ms: (POLL_S + 15) * 1000,
      });
      failures = 0;
      reachable(app);
      if (news.seq !== since) {
        since = news.seq;
        await takeNews(app, news);
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    } catch (error) {
      failures++;
      if (failures > 1 || error instanceof Denied) unreachable(app, error);
      await new Promise((resolve) => setTimeout(resolve, failures > 1 ? RETRY_MS : HICCUP_MS));
    }
  }
}

/** @param {App} app */
function reachable(app) {
  if (app.reachable) return;
  app.reachable = true;
  app.outbox.retry();
  void app.outbox.settled().then(() => {
    if (!app.reachable) return; // gone again
    app.store.set({ connection: "saved" });
    app.clearToasts(); // they were about its absence
    app.toast(S.back, "info");
  });
  void refreshImage(app);
  void refreshList(app);
  void refreshLabels(app);
}

/** @param {App} app @param {unknown} error */
function unreachable(app, error) {
  app.reachable = false;
  app.store.set({ connection: error instanceof Denied ? "denied" : "offline" });
}

const visible = () =>
  new Promise((resolve) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve(undefined);
    };
    document.addEventListener("visibilitychange", look);
  });

/** @param {App} app @param {{seq: number, images: string[], objects: string[], deleted: string[]}} news */
async function takeNews(app, news) {
  // Most news is the echo of this page's own clicks: they go first.
  await app.outbox.settled(OTHERS_MS);
  const image = app.state.image?.id;
  const others = news.images.filter((each) => each !== image);
  if (!news.images.length && !news.objects.length) await refreshLabels(app);
  if (others.includes(app.state.loading)) app.overtaken.add(app.state.loading);
  if (others.length) void refreshList(app);
  // All changes are numbered by one counter: what was seen with that number or a later one is no news.
  const mine = news.objects.filter((id) => app.state.objects.has(id));
  const older = mine.filter((id) => (app.state.objects.get(id)?.seq ?? 0) < news.seq);
  const unknown = news.objects.some((id) => !app.state.objects.has(id));
  const gone = news.deleted.some((id) => app.state.objects.has(id));
  const here = image !== undefined && news.images.includes(image) && (app.state.image?.seq ?? 0) < news.seq;
  if (older.length > FEW || (here && (unknown || gone || !mine.length))) await refreshImage(app);
  else for (const id of older) await refreshObject(app, id);
  const known = new Set(app.state.project?.labels.map((each) => each.name));
  if ([...app.state.objects.values()].some((each) => each.label && !known.has(each.label))) await refreshLabels(app);
}

/** @param {App} app @param {string} id */
async function refreshObject(app, id) {
  const theirs = await call("GET", `api/objects/${encodeURIComponent(id)}`).catch(() => null);
  const mine = app.state.objects.get(id);
  if (!mine || app.outbox.of(id).length) return;
  if (!theirs) await refreshImage(app);
  else if (theirs.seq > mine.seq || (theirs.seq === mine.seq && differs(mine, theirs))) {
    if (theirs.seq !== mine.seq && app.state.active === id) app.stage.live.polygon = null;
    app.setObject(theirs);
  }
}

/** @param {any} mine @param {any} theirs */
const differs = (mine, theirs) =>
  ["label", "color", "visible", "locked", "finished", "order", "threshold", "can_undo", "can_redo"].some(
    (name) => mine[name] !== theirs[name],
  );

/** @param {App} app */
export async function refreshList(app) {
  const images = await call("GET", "api/images").catch(() => null);
  if (!images) return;
  app.store.set({ images });
  const { image, objects } = app.state;
  if (image) setEntry(app, image.id, { status: image.status, objects: objects.size });
}
