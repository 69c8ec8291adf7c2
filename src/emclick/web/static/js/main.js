/** Starts the page. */

import { App } from "./app.js";
import { call, newKey } from "./api.js";
import { connectAnswers } from "./answers.js";
import { byId, attribute, setText } from "./dom.js";
import { connectFiles, loadMaskFile } from "./files.js";
import { openImage } from "./images.js";
import { connectKeyboard, connectListKeys } from "./keyboard.js";
import { connectPointer } from "./pointer.js";
import { updatePolygon } from "./polygon.js";
import { Denied, Unreachable } from "./queue.js";
import { nextUnfinished, readSettings } from "./store.js";
import { S } from "./strings.js";
import { adoptStored, connectQueue, follow, guardProject, holdOutbox } from "./sync.js";
import { exposeForTests } from "./testing.js";
import { makeDetails } from "./panels/details.js";
import { makeImages } from "./panels/images.js";
import { makeLabels } from "./panels/labels.js";
import { makeObjects } from "./panels/objects.js";
import { makeShortcuts } from "./panels/shortcuts.js";
import { makeStageNotes, makeStatus, makeToasts } from "./panels/status.js";
import { makeTools } from "./panels/tools.js";
import { makeTopbar } from "./panels/topbar.js";
import { h } from "./dom.js";

const RETRY_MS = 1500;
const SETTINGS_MS = 600;
const OUTBOX = "emclick-outbox:"; // what entries with changes begin with, before their project

/** @param {App} app */
function makePanels(app) {
  makeTopbar(app, byId("topbar"));
  makeImages(app, byId("images"));
  makeTools(app, byId("tools"));
  const [labels, objects, details] = ["labels", "objects", "details"].map((name) =>
    h("div", { class: `panel ${name}-panel` }),
  );
  byId("side").append(labels, objects, details);
  makeLabels(app, labels);
  makeObjects(app, objects);
  makeDetails(app, details);
  makeStatus(app, byId("status"));
  makeToasts(app, byId("toasts"));
  makeStageNotes(app);
  makeShortcuts(app);
  const live = byId("live");
  app.announce = (text) => setText(live, text);
  attribute(app.stage.root, "aria-label", S.stage);
}

/** What has to be drawn anew when a part of the state changes. @param {App} app */
function connectDrawing(app) {
  const { store, stage } = app;
  store.on(["objects", "active", "hidden", "project", "settings", "image"], () => {
    stage.paintMasks();
    stage.paint("overlay");
  });
  store.on(["settings"], ({ settings }) => {
    attribute(document.documentElement, "data-theme", settings.theme);
    stage.paint("picture");
  });
  store.on(["objects", "active", "tool"], () => updatePolygon(app));
  store.on(["tool", "crosshair", "swapped"], () => stage.paint("overlay"));
  store.on(["batch"], () => stage.markUnsent());
  store.on(["waiting"], () => stage.markUnsentSoon());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => stage.paint("picture"));
}

/** Files dropped on the picture are masks. @param {App} app */
function connectDrop(app) {
  const { root } = app.stage;
  root.addEventListener("dragover", (event) => {
    event.preventDefault();
    attribute(root, "data-drop", S.dropMask);
  });
  root.addEventListener("dragleave", () => attribute(root, "data-drop", null));
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    attribute(root, "data-drop", null);
    const file = event.dataTransfer?.files[0];
    if (file) void loadMaskFile(app, file);
  });
}

/** @param {App} app */
function keepSettings(app) {
  let stored = JSON.stringify(app.state.settings);
  let timer = 0;
  app.store.on(["settings"], ({ settings }) => {
    clearTimeout(timer);
    if (JSON.stringify(settings) === stored) return;
    timer = window.setTimeout(() => {
      const text = JSON.stringify(settings);
      call("PUT", "api/project/settings", { json: settings }).then(
        () => (stored = text),
        () => undefined, // sent again with the next change
      );
    }, SETTINGS_MS);
  });
}

/** The project and its images; waits for the server if it is not there. @param {App} app */
async function load(app) {
  for (;;) {
    try {
      const [project, images] = await Promise.all([call("GET", "api/project"), call("GET", "api/images")]);
      app.reachable = true;
      app.store.set({ project, images, settings: readSettings(project.settings), connection: "saved" });
      return;
    } catch (error) {
      if (!(error instanceof Unreachable || error instanceof Denied)) app.toast(String(error), "error");
      app.store.set({ connection: error instanceof Denied ? "denied" : "offline" });
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}

async function start() {
  const fromLink = new URLSearchParams(location.hash.slice(1)).get("image") ?? "";
  // The token has become a cookie: it need not stay in the address bar and the history.
  history.replaceState(null, "", location.pathname + location.hash);
  const app = new App(byId("stage"), localStorage, ""); // nothing is changed before the project has named it
  exposeForTests(app);
  makePanels(app);
  connectAnswers(app);
  connectFiles(app);
  connectQueue(app);
  connectDrawing(app);
  connectDrop(app);
  /** @type {ReturnType<typeof connectPointer> | null} */
  let pointer = null;
  const keys = connectKeyboard(app, () => pointer ?? { abort: () => false });
  pointer = connectPointer(app, keys.spaceHeld, keys.spaceUsed);
  const list = document.querySelector("#images [role=listbox]");
  if (list instanceof HTMLElement) connectListKeys(app, list);
  app.store.set({ ...app.state }); // draws every panel once
  await load(app);
  keepSettings(app);
  const outbox = `${OUTBOX}${app.state.project?.id}:`;
  holdOutbox(app, outbox + newKey());
  guardProject(app);
  await adoptStored(app, localStorage, outbox);
  await app.outbox.settled(2000);
  const { images, settings } = app.state;
  const wanted = fromLink || settings.image;
  const first = images.find((each) => each.id === wanted) ?? nextUnfinished(images, "") ?? images[0];
  if (first) void openImage(app, first.id, first.id === wanted);
  void follow(app);
}

void start();
