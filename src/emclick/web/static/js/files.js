/** Files in and out: a mask to correct, annotations in other formats. */

import { Refused, newKey, postFile, request } from "./api.js";
import { refreshImage, refreshLabels } from "./answers.js";
import { finish, select } from "./objects.js";
import { Denied, NotStored, Unreachable } from "./queue.js";
import { refreshList } from "./sync.js";
import { S } from "./strings.js";

/** @typedef {import("./app.js").App} App */

const SETTLE_MS = 3000;

/** @param {App} app @param {unknown} error */
function tell(app, error) {
  if (error instanceof Refused || error instanceof NotStored) app.toast(S.refused(error.message), "error");
  else if (error instanceof Unreachable || error instanceof Denied) app.toast(S.needServer, "error");
  else app.toast(error instanceof Error ? error.message : String(error), "error");
}

const KEPT_BYTES = 1 << 20; // browsers keep about 5 MB of text for a page

/**
 * Sends a file after the changes before it. A small one is kept until the server has answered, like any change; one
 * that cannot be kept is sent now or refused now.
 * @param {App} app
 * @param {{kind: "masks" | "import", image: string, path: string}} change
 * @param {Blob} file
 */
async function sendFile(app, change, file) {
  const command = { key: newKey(), object: "", method: "POST", body: {}, ...change };
  try {
    const away = app.state.connection === "offline" || app.state.connection === "denied";
    if (file.size <= KEPT_BYTES && app.outbox.pushFile(command, await dataUrl(file))) {
      if (away) app.toast(S.fileKept, "info");
      return;
    }
    if (away) throw new Unreachable();
    await app.outbox.settled(SETTLE_MS);
    app.onAnswer(command, await postFile(command, file));
  } catch (error) {
    const away = error instanceof Denied || (error instanceof Unreachable && !(error instanceof NotStored));
    if (away) app.toast(S.fileNotKept, "error");
    else tell(app, error);
  }
}

/** @param {Blob} file @returns {Promise<string>} */
function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(new Error(S.fileUnreadable));
    reader.readAsDataURL(file);
  });
}

/**
 * A mask file becomes objects of the open image; the first is ready to be corrected.
 * @param {App} app
 * @param {Blob} file
 */
export async function loadMaskFile(app, file) {
  const image = app.state.image;
  if (!image) return;
  finish(app);
  const path = `api/images/${encodeURIComponent(image.id)}/masks`;
  await sendFile(app, { kind: "masks", image: image.id, path }, file);
}

/** @param {App} app @param {string} format @param {File} file */
export async function importFile(app, format, file) {
  const path = `api/import?format=${encodeURIComponent(format)}&name=${encodeURIComponent(file.name)}`;
  await sendFile(app, { kind: "import", image: "", path }, file);
}

/** What the answers to files do. @param {App} app */
export function connectFiles(app) {
  app.onFile = (command, answer) => {
    if (command.kind === "import" && answer) onImported(app, answer);
    else if (app.state.image?.id === command.image) onMasks(app, answer?.objects ?? null);
  };
}

/** @param {App} app @param {import("./types.js").Obj[] | null} made null: another window had the answer */
function onMasks(app, made) {
  void refreshImage(app);
  if (!made) return;
  for (const each of made) app.setObject(each);
  app.toast(made.length ? S.maskLoaded(made.length) : S.emptyMask, "info");
  if (made.length && !app.state.active) {
    app.store.set({ tool: "click" });
    select(app, made[0].id);
  }
}

/** @param {App} app @param {{objects: number, skipped?: string[], already_there?: number}} answer */
function onImported(app, answer) {
  app.toast(S.imported(answer.objects, answer.skipped?.length ?? 0, answer.already_there ?? 0), "info");
  void refreshList(app);
  void refreshImage(app);
  void refreshLabels(app);
}

/**
 * Exports once everything is saved, so that the file holds the newest click.
 * @param {App} app
 * @param {string} format
 * @param {string} options of the format, as a query
 */
export async function exportFile(app, format, options = "") {
  try {
    await app.outbox.settled(5000);
    app.announce(S.exporting);
    const path = `api/export?format=${encodeURIComponent(format)}${options && `&${options}`}`;
    const response = await request("GET", path, { timeout_ms: 600_000 });
    const named = /filename\*?=(?:UTF-8'')?"?([^";]+)"?/i.exec(response.headers.get("Content-Disposition") ?? "");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = named ? decodeURIComponent(named[1]) : `annotations-${format}`;
    link.click();
    app.toast(S.exported(link.download), "info");
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } catch (error) {
    tell(app, error);
  }
}

/** Asks for a file. @param {string} accept @param {(file: File) => void} then */
export function askFile(accept, then) {
  const input = document.createElement("input");
  input.type = "file";
  input.accept = accept;
  input.addEventListener("change", () => {
    if (input.files?.[0]) then(input.files[0]);
  });
  input.click();
}
