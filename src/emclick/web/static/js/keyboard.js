/** Key presses to commands. Keys belong to text fields while one is being typed in. */

import { COMMANDS, moveCrosshair } from "./commands.js";
import { menuIsOpen, takesText } from "./dom.js";
import { bindings, comboOf, lookup } from "./keys.js";
import { sendBatch } from "./objects.js";

const ARROWS = Object.freeze(
  /** @type {Record<string, [number, number]>} */ ({
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, -1],
    ArrowDown: [0, 1],
  }),
);

/** @param {import("./app.js").App} app @param {() => {abort: () => boolean}} pointer */
export function connectKeyboard(app, pointer) {
  let space = false; // held
  let used = false; // held to move the picture
  let table = lookup(bindings(app.state.settings.keys));
  app.store.on(["settings"], ({ settings }) => (table = lookup(bindings(settings.keys))));

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const { target } = event;
    if (takesText(target)) {
      if (event.key === "Escape" && target instanceof HTMLElement) target.blur();
      return;
    }
    if (menuIsOpen() || ownsKey(target, event)) return;
    if (app.state.crosshair && event.key in ARROWS) {
      const [dx, dy] = ARROWS[event.key];
      moveCrosshair(app, dx, dy, event.shiftKey);
      event.preventDefault();
      return;
    }
    const combo = comboOf(event);
    const command = table.get(combo);
    if (!command) return;
    event.preventDefault();
    if (combo === "Space") {
      if (!event.repeat) [space, used] = [true, false];
      if (!app.stage.root.dataset.cursor) app.stage.setCursor("pan");
      return;
    }
    if (event.repeat && ONCE.has(command)) return;
    if (command === "cancel") escape(app, pointer);
    else COMMANDS[command](app);
  });

  document.addEventListener("keyup", (event) => {
    if (event.key === " " && space) {
      space = false;
      app.stage.setCursor("");
      // A tap runs its command; a hold that moved the picture was no tap.
      const command = table.get("Space");
      if (!used && command) COMMANDS[command](app);
    }
    if (event.key === "Control" || event.key === "Meta") sendBatch(app);
    if (app.state.hidden && table.get(comboOf(event)) === "hide") app.store.set({ hidden: false });
  });
  window.addEventListener("blur", () => {
    space = false;
    app.stage.setCursor("");
    if (app.state.hidden) app.store.set({ hidden: false });
  });

  // A button pressed with the mouse gives the keyboard back to the picture: Space is for finishing, not for the button.
  document.addEventListener("click", (event) => {
    const pressed =
      event.target instanceof Element ? event.target.closest("button, summary, label, [role=listbox]") : null;
    if (
      !pressed ||
      event.detail === 0 ||
      pressed.closest("dialog, [popover], form") ||
      pressed.hasAttribute("popovertarget")
    ) {
      return;
    }
    if (!takesText(document.activeElement)) app.stage.root.focus({ preventScroll: true });
  });
  document.addEventListener("pointerup", (event) => {
    if (event.target instanceof HTMLInputElement && event.target.type === "range") {
      app.stage.root.focus({ preventScroll: true });
    }
  });

  // The frame shows where the keyboard is for those who go by Tab; a click on the picture needs none.
  const { root } = app.stage;
  root.addEventListener("keyup", (event) => {
    if (event.key === "Tab") root.setAttribute("data-ring", "");
  });
  for (const name of ["blur", "pointerdown"]) root.addEventListener(name, () => root.removeAttribute("data-ring"));

  return { spaceHeld: () => space, spaceUsed: () => (used = true) };
}

/** Not repeated while the key is held. */
const ONCE = new Set([
  "finish",
  "cancel",
  "deleteObject",
  "doneAndNext",
  "hide",
  "loadMask",
  "addHere",
  "excludeHere",
  "help",
]);

/** Esc: the gesture, the drawer, then what was begun. @param {import("./app.js").App} app
 * @param {() => {abort: () => boolean}} pointer */
function escape(app, pointer) {
  if (pointer().abort()) return;
  if (document.body.hasAttribute("data-drawer")) document.body.removeAttribute("data-drawer");
  else if (app.state.crosshair && !app.state.active && !app.state.batch.length) COMMANDS.crosshair(app);
  else COMMANDS.cancel(app);
}

/** Keys that the focused control uses itself. @param {EventTarget | null} target @param {KeyboardEvent} event */
function ownsKey(target, { key, shiftKey, ctrlKey }) {
  if (!(target instanceof HTMLElement)) return false;
  const press = (key === " " || key === "Enter") && !shiftKey && !ctrlKey;
  if (target instanceof HTMLInputElement && target.type === "range") {
    return key.startsWith("Arrow") || /^(Home|End|Page)/.test(key);
  }
  if (target.matches("button, summary, a, input")) return press;
  return false;
}

/**
 * The list of images takes the arrows that go up and down.
 * @param {import("./app.js").App} app
 * @param {HTMLElement} list
 */
export function connectListKeys(app, list) {
  list.addEventListener("keydown", (event) => {
    const step = { ArrowUp: "previousImage", ArrowDown: "nextImage" }[event.key];
    if (!step) return;
    event.preventDefault();
    COMMANDS[step](app);
  });
}
