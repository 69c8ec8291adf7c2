/**
 * Changes on their way to the server: sent one at a time, in the order made, kept in the browser's storage until the
 * server has answered. Every change carries a key, so that one sent again after a lost answer is applied once.
 */

/** @typedef {import("./types.js").Command} Command */

/** The server cannot be reached; the change is kept and sent again. */
export class Unreachable extends Error {}

/** The server is there but cannot store the change now, and says why; it is kept and sent again. */
export class NotStored extends Unreachable {}

/** The server does not know this page (any more); the change is kept. */
export class Denied extends Error {}

const FILE = "emclick-file:"; // what entries with files begin with
const WAITS_MS = [300, 1000, 2000, 4000];

/**
 * @typedef {"" | "offline" | "storage" | "denied" | "full"} Trouble full: of the browser's storage
 * @typedef {Pick<Storage, "getItem" | "setItem" | "removeItem">} TextStorage
 * @typedef {object} OutboxOptions
 * @property {(command: Command) => Promise<any>} send rejects with Unreachable or Denied to keep the change
 * @property {(command: Command, answer: any) => void} onAnswer
 * @property {(command: Command, error: unknown) => void} onRefused the change is gone; the error says why
 * @property {(error: unknown) => void} onFault of what listens; the changes behind are sent all the same
 * @property {(trouble: Trouble) => void} onChange after every change of `commands`
 * @property {TextStorage} storage
 * @property {string} name of the storage entry
 * @property {(ms: number) => Promise<void>} [sleep]
 */

export class Outbox {
  /** @param {OutboxOptions} options */
  constructor(options) {
    this.options = options;
    /** @type {Command[]} */
    this.commands = [];
    /** @type {Trouble} */
    this.trouble = "";
    this.why = ""; // what the server says while it cannot store
    this.running = false;
    /** @type {(() => void) | null} */
    this.wake = null;
    /** @type {(() => void)[]} */
    this.waiting = [];
  }

  /** Adds a change and starts sending. @param {Command} command */
  push(command) {
    this.commands.push(command);
    this.save();
    this.options.onChange(this.trouble);
    void this.run();
  }

  /** Adds a change whose body is a file, kept in the storage beside the changes.
   * @param {Command} command @param {string} text the file as a data URL @returns {boolean} false: there is no room for
   * it, and nothing was added */
  pushFile(command, text) {
    const file = `${FILE}${command.key}`;
    try {
      this.options.storage.setItem(file, text);
    } catch {
      return false;
    }
    this.push({ ...command, file });
    return true;
  }

  /** Replaces the newest unsent change of the same kind on the same object (a slider being dragged), or adds it.
   * @param {Command} command */
  pushLatest(command) {
    const last = this.commands.at(-1);
    if (last && this.commands.length > 1 && last.kind === command.kind && last.object === command.object) {
      last.body = { ...last.body, ...command.body };
      this.save();
    } else this.push(command);
  }

  /** Changes left by this page before a reload or a crash, sent before anything new. @param {Command[]} commands */
  adopt(commands) {
    const known = new Set(this.commands.map((each) => each.key));
    for (const each of commands) delete each.at; // of another page's clock
    this.commands.unshift(...commands.filter((each) => !known.has(each.key)));
    this.save();
    this.options.onChange(this.trouble);
    void this.run();
  }

  /** Takes a change back that has not been sent; false if it may have been. @param {Command} command */
  withdraw(command) {
    const at = this.commands.indexOf(command);
    if (at < 1) return false;
    this.drop(command);
    this.after(this.trouble, this.why);
    return true;
  }

  /** Sends a refused change once more, before all others. @param {Command} command */
  again(command) {
    this.commands.unshift(command);
    this.save();
  }

  /** Tries again at once, if it was waiting. */
  retry() {
    if (this.wake) this.wake();
  }

  /** Resolves when nothing is left to send, or after `ms`. @param {number} [ms] */
  settled(ms) {
    if (!this.commands.length) return Promise.resolve();
    return new Promise((resolve) => {
      this.waiting.push(() => resolve(undefined));
      if (ms !== undefined) setTimeout(resolve, ms);
    });
  }

  /** @param {string} object */
  of(object) {
    return this.commands.filter((each) => each.object === object);
  }

  async run() {
    if (this.running) return;
    this.running = true;
    let failures = 0;
    while (this.commands.length) {
      const command = this.commands[0];
      try {
        const answer = await this.options.send(command);
        failures = 0;
        this.tell(() => {
          this.drop(command);
          if (command.kind === "create") this.resolve(command.object, answer.id);
          this.after("");
          this.options.onAnswer(command, answer);
        });
      } catch (error) {
        if (error instanceof Unreachable || error instanceof Denied) {
          // One failure may be a hiccup; the first wait is short and silent.
          failures++;
          for (const each of this.commands) delete each.at; // how long the server was away is not a click's time
          if (error instanceof NotStored) this.after("storage", error.message);
          else if (error instanceof Denied) this.after("denied");
          else if (failures > 1) this.after("offline");
          await this.pause(WAITS_MS[Math.min(failures, WAITS_MS.length) - 1]);
          continue;
        }
        this.tell(() => {
          this.drop(command);
          if (command.kind === "create") {
            this.commands = this.commands.filter((each) => each.object !== command.object);
          }
          this.after("");
          this.options.onRefused(command, error);
        });
      }
    }
    this.running = false;
    for (const done of this.waiting.splice(0)) done();
  }

  /** @param {() => void} listeners */
  tell(listeners) {
    try {
      listeners();
    } catch (error) {
      this.options.onFault(error);
    }
  }

  /** @param {Command} command */
  drop(command) {
    this.commands = this.commands.filter((each) => each !== command);
    if (command.file) this.options.storage.removeItem(command.file);
  }

  /** Changes to an object made here now go to the server's name for it. @param {string} local @param {string} id */
  resolve(local, id) {
    for (const each of this.commands) {
      if (each.object === local) each.object = id;
      const { keep } = each.body; // a stroke's, see edits.js
      if (Array.isArray(keep)) each.body.keep = keep.map((name) => (name === local ? id : name));
    }
  }

  /** @param {Trouble} trouble @param {string} [why] */
  after(trouble, why = "") {
    this.trouble = trouble;
    this.why = why;
    this.save();
    this.options.onChange(this.trouble);
  }

  save() {
    const { storage, name } = this.options;
    try {
      if (this.commands.length) storage.setItem(name, JSON.stringify(this.commands));
      else storage.removeItem(name);
    } catch {
      // The browser's storage is full or switched off: the changes live in this tab only.
      if (this.trouble === "offline") this.trouble = "full";
    }
  }

  /** @param {number} ms */
  async pause(ms) {
    const sleep =
      this.options.sleep ?? ((/** @type {number} */ t) => new Promise((resolve) => setTimeout(resolve, t)));
    await Promise.race([sleep(ms), new Promise((resolve) => (this.wake = () => resolve(undefined)))]);
    this.wake = null;
  }
}

/**
 * What an earlier page stored; anything unreadable counts as nothing.
 * @param {string | null} text
 * @returns {Command[]}
 */
export function readStored(text) {
  try {
    const list = JSON.parse(text ?? "[]");
    const usable = (/** @type {any} */ each) =>
      each?.body instanceof Object &&
      ["key", "kind", "object", "path", "method"].every((name) => typeof each[name] === "string");
    return Array.isArray(list) ? list.filter(usable) : [];
  } catch {
    return [];
  }
}
