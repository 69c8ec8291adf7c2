/** Requests to the server, relative to the page's own address, so that the page works under any path. */

import { applyLabelEdit } from "./labels.js";
import { Denied, NotStored, Unreachable } from "./queue.js";

/** The server said no. */
export class Refused extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {any} object */
  constructor(status, code, message, object) {
    super(message);
    this.status = status;
    this.code = code;
    this.object = object;
  }
}

const GATEWAY = new Set([502, 503, 504, 429]);
const TIMEOUT_MS = 60_000;
const FILE_TIMEOUT_MS = 600_000;

/**
 * @typedef {{json?: unknown, raw?: Blob, signal?: AbortSignal, timeout_ms?: number}} RequestOptions
 * @param {string} method
 * @param {string} path relative, "api/..."
 * @param {RequestOptions} [options]
 * @returns {Promise<Response>}
 */
export async function request(method, path, options = {}) {
  const { json, raw, signal, timeout_ms = TIMEOUT_MS } = options;
  const limit = AbortSignal.timeout(timeout_ms);
  /** @type {RequestInit} */
  const init = { method, credentials: "same-origin", signal: signal ? AbortSignal.any([signal, limit]) : limit };
  if (json !== undefined) {
    init.body = JSON.stringify(json);
    init.headers = { "Content-Type": "application/json" };
  } else if (raw) {
    init.body = raw;
    init.headers = { "Content-Type": raw.type || "application/octet-stream" };
  }
  let response;
  try {
    response = await fetch(`./${path}`, init);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable(String(error));
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const said = body?.error ?? {};
  // A proxy without its server answers 503 as well, but not in the server's own words.
  if (response.status === 503 && said.code) throw new NotStored(said.message);
  if (GATEWAY.has(response.status)) throw new Unreachable(`status ${response.status}`);
  if (response.status === 401 || (response.status === 403 && said.code === "token")) throw new Denied(said.message);
  throw new Refused(response.status, said.code ?? "", said.message ?? `${response.status}`, said.object);
}

/** @param {string} method @param {string} path @param {RequestOptions} [options] @returns {Promise<any>} */
export async function call(method, path, options) {
  const response = await request(method, path, options);
  if (response.status === 204 || response.status === 202) return null;
  try {
    return await response.json();
  } catch (error) {
    if (options?.signal?.aborted) throw error;
    // The server went away while it answered: what it did with the change is not known, so the change is kept.
    throw new Unreachable(`answer cut off: ${error}`);
  }
}

/** A queued change, with its key and the object's last seen sequence number.
 * @param {import("./types.js").Command} command @param {number | undefined} seq @param {Storage} storage of files */
export function sendCommand(command, seq, storage) {
  if (command.kind === "labels") return sendLabels(command);
  if (command.file) return sendFile(command, storage);
  const path = command.path.replace("{object}", encodeURIComponent(command.object));
  const stamps = seq === undefined ? { key: command.key } : { key: command.key, seq };
  if (command.method === "DELETE") {
    const query = new URLSearchParams(Object.entries(stamps).map(([name, value]) => [name, String(value)]));
    return call("DELETE", `${path}?${query}`);
  }
  return call(command.method, path, { json: { ...command.body, ...stamps } });
}

/** A change of the labels, made to the list as it is now; `detail` is the open image after it.
 * @param {import("./types.js").Command} command */
async function sendLabels({ body, path, image }) {
  const edit = /** @type {import("./labels.js").LabelEdit} */ (/** @type {unknown} */ (body));
  const { labels: now } = await call("GET", "api/project");
  const wanted = applyLabelEdit(now, edit);
  const labels = wanted === now ? now : await call("PUT", path, { json: wanted });
  const renames = edit.op === "change" && edit.part.name !== undefined;
  return { labels, detail: renames && image ? await call("GET", `api/images/${encodeURIComponent(image)}`) : null };
}

/** A file. If it is not kept any more, another window has sent it.
 * @param {import("./types.js").Command} command @param {Storage} storage */
async function sendFile(command, storage) {
  const text = storage.getItem(command.file ?? "");
  if (text === null) return null;
  return postFile(command, blobOf(text));
}

/** @param {import("./types.js").Command} command @param {Blob} raw */
export function postFile({ method, path, key }, raw) {
  return call(method, `${path}${path.includes("?") ? "&" : "?"}key=${key}`, { raw, timeout_ms: FILE_TIMEOUT_MS });
}

/** @param {string} url "data:TYPE;base64,..." */
function blobOf(url) {
  const comma = url.indexOf(",");
  const bytes = Uint8Array.from(atob(url.slice(comma + 1)), (each) => each.charCodeAt(0));
  return new Blob([bytes], { type: url.slice(5, comma).split(";")[0] });
}

/** A string no one else makes. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
