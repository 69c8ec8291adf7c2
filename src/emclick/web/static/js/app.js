/** What the parts of the page share: state, outbox, stage, and how to say something to the person. */

import { sendCommand, newKey } from "./api.js";
import { Shapes } from "./masks.js";
import { Outbox } from "./queue.js";
import { Pictures } from "./picture.js";
import { Stage } from "./stage.js";
import { Store } from "./store.js";
import { onTurn } from "./turn.js";

/**
 * @typedef {import("./types.js").Command} Command
 * @typedef {{object: string, seq: number, ms: number, server_ms: number}} Sample
 */

const SAMPLES = 200;

export class App {
  /** @param {HTMLElement} stageRoot @param {Storage} storage @param {string} outboxName */
  constructor(stageRoot, storage, outboxName) {
    this.store = new Store();
    this.shapes = new Shapes();
    this.pictures = new Pictures();
    this.stage = new Stage(stageRoot, this.store, this.shapes, (id) => this.unsent(id));
    /** @type {Sample[]} click to painted mask, ms, the last 200 */
    this.samples = [];
    this.reachable = true;
    /** @type {Set<string>} objects made by clicks or brush since the page was opened */
    this.made = new Set();
    /** @type {Map<string, string>} local name of an object -> the server's */
    this.named = new Map();
    /** @type {Map<string, number>} image -> the number of the newest change of it that was answered here */
    this.answered = new Map();
    /** @type {Set<string>} images that others have changed while they were being opened */
    this.overtaken = new Set();
    /** Messages are shown by whoever listens here. @type {(text: string, kind: "info" | "error") => void} */
    this.toast = () => undefined;
    /** Takes them away. */
    this.clearToasts = () => undefined;
    /** Ends what the pointer is drawing, as if it were lifted. */
    this.endGesture = () => undefined;
    /** Opens the shortcut sheet. */
    this.openHelp = () => undefined;
    /** @type {(text: string) => void} for screen readers */
    this.announce = () => undefined;
    /** What came of a file. @type {(command: Command, answer: any) => void} */
    this.onFile = () => undefined;
    /** @type {(sample: Sample) => void} */
    this.onSample = () => undefined;
    /** @type {(command: Command, answer: any) => void} */
    this.onAnswer = () => undefined;
    /** @type {(command: Command, error: unknown) => void} */
    this.onRefused = () => undefined;
    /** @type {(error: unknown) => void} */
    this.onFault = () => undefined;
    /** Rejects if the server is not the one that the changes are for. @type {() => Promise<void>} */
    this.beforeSending = () => Promise.resolve();
    /** @type {(trouble: import("./queue.js").Trouble) => void} */
    this.onQueue = () => undefined;
    this.outbox = new Outbox({
      storage,
      name: outboxName,
      send: async (command) => {
        await this.beforeSending();
        const ready = command.path
          ? { command, seq: command.seq ?? this.seqOf(command) }
          : await onTurn(this, command);
        return ready && sendCommand(ready.command, ready.seq, storage);
      },
      onAnswer: (command, answer) => this.onAnswer(command, answer),
      onRefused: (command, error) => this.onRefused(command, error),
      onFault: (error) => this.onFault(error),
      onChange: (trouble) => this.onQueue(trouble),
    });
  }

  get state() {
    return this.store.state;
  }

  /** The object being worked on, if any. */
  get active() {
    return this.state.objects.get(this.state.active) ?? null;
  }

  /** The sequence number of the object that the person was looking at. @param {Command} command */
  seqOf(command) {
    return command.kind === "create" ? undefined : this.state.objects.get(command.object)?.seq;
  }

  /** Clicks on their way to the server. @param {string} id @returns {import("./types.js").Click[]} */
  unsent(id) {
    if (!id) return [];
    return this.outbox.of(id).flatMap((each) => {
      if (each.kind === "click") return [/** @type {any} */ (each.body)];
      return /** @type {any} */ (each.body).clicks ?? []; // of a batch, or of an object that begins with them
    });
  }

  /** Sends a change of an object. @param {import("./types.js").CommandKind} kind @param {string} object
   * @param {string} method @param {string} path @param {Record<string, unknown>} [body] @param {number} [at] */
  change(kind, object, method, path, body = {}, at) {
    const image = this.state.objects.get(object)?.image ?? this.state.image?.id ?? "";
    this.outbox.push({ key: newKey(), kind, image, object, method, path, body, at });
  }

  /** Sends a change of an image. @param {import("./types.js").CommandKind} kind @param {string} image
   * @param {string} method @param {string} path @param {Record<string, unknown>} [body] */
  changeImage(kind, image, method, path, body = {}) {
    this.outbox.push({ key: newKey(), kind, image, object: "", method, path, body });
  }

  /** @param {import("./types.js").Obj} object */
  setObject(object) {
    this.state.objects.set(object.id, object);
    this.store.set({ objects: this.state.objects });
  }

  /** @param {Sample} sample */
  addSample(sample) {
    this.samples.push(sample);
    if (this.samples.length > SAMPLES) this.samples.shift();
    this.onSample(sample);
  }
}
