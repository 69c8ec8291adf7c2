/** The shortcut sheet; every shortcut can be changed on it. */

import { h, setText } from "../dom.js";
import { assign, bindings, changes, comboOf, isAssignable, keycaps, ownerOf } from "../keys.js";
import { S } from "../strings.js";
import { iconButton } from "./button.js";

/** @typedef {import("../app.js").App} App */

const isMac = () => /Mac|iPhone|iPad/.test(navigator.userAgent);

/** @param {string} command */
const nameOf = (command) => S.command[command] ?? S.labelCommand(command.replace("label", ""));

/** @param {string} combo */
const shown = (combo) => keycaps(combo, isMac()).join(" ");

/** @param {App} app */
export function makeShortcuts(app) {
  const body = h("div", { class: "sheet" });
  const said = h("p", { class: "sheet-note", role: "status", "data-testid": "shortcuts-note" });
  const reset = h(
    "button",
    {
      type: "button",
      class: "button small",
      "data-testid": "reset-keys",
      onclick: () => {
        setText(said, "");
        app.store.setSettings({ keys: {} });
      },
    },
    S.resetKeys,
  );
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-label": S.shortcuts, "data-testid": "shortcuts" },
    h(
      "div",
      { class: "heading" },
      h("h2", {}, S.shortcuts),
      h("span", { class: "quiet" }, S.shortcutsEdit),
      reset,
      iconButton({ icon: "cross", label: S.close, class: "ghost close", press: () => dialog.close() }),
    ),
    said,
    body,
  );
  let waiting = "";
  document.body.append(dialog);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
  dialog.addEventListener("close", () => {
    waiting = "";
    setText(said, "");
    app.stage.root.focus({ preventScroll: true });
  });
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (!waiting) {
      if (event.key === "?") dialog.close();
      return;
    }
    const combo = comboOf(event);
    if (!combo) return;
    setText(said, "");
    if (!isAssignable(combo)) setText(said, S.keyFixed(shown(combo)));
    else {
      event.preventDefault();
      if (combo !== "Escape") give(waiting, combo);
    }
    waiting = "";
    draw();
  });

  /** @param {string} command @param {string} combo */
  const give = (command, combo) => {
    const bound = bindings(app.state.settings.keys);
    const owner = ownerOf(bound, command, combo);
    if (owner) setText(said, S.keyTaken(shown(combo), nameOf(owner)));
    app.store.setSettings({ keys: changes(assign(bound, command, combo)) });
  };

  const row = (/** @type {string} */ command, /** @type {string[]} */ combos) => {
    const caps = combos.map((combo) =>
      h("span", { class: "combo" }, ...keycaps(combo, isMac()).map((cap) => h("kbd", {}, cap))),
    );
    const button = h(
      "button",
      {
        type: "button",
        class: "keys",
        "data-testid": `key-${command}`,
        "aria-label": `${nameOf(command)}: ${combos.join(", ") || S.noKeys}`,
        onclick: () => {
          setText(said, "");
          waiting = waiting === command ? "" : command;
          draw();
        },
      },
      ...(waiting === command ? [h("em", {}, S.pressKeys)] : caps.length ? caps : [h("i", {}, S.noKeys)]),
    );
    return h("div", { class: "sheet-row" }, h("span", {}, nameOf(command)), button);
  };
  const draw = () => {
    if (!dialog.open) return;
    const held = body.contains(document.activeElement) ? document.activeElement?.getAttribute("data-testid") : "";
    const bound = bindings(app.state.settings.keys);
    body.replaceChildren(
      ...S.groups.map(([title, commands]) =>
        h("section", {}, h("h3", {}, title), ...commands.map((each) => row(each, bound[each]))),
      ),
      h(
        "section",
        {},
        h("h3", {}, S.mouse),
        ...S.gestures.map(([gesture, does]) =>
          h("div", { class: "sheet-row" }, h("span", {}, gesture), h("span", { class: "gesture" }, does)),
        ),
      ),
    );
    if (held) /** @type {HTMLElement | null} */ (body.querySelector(`[data-testid="${held}"]`))?.focus();
  };
  app.store.on(["settings"], draw);
  app.openHelp = () => {
    if (dialog.open) return;
    dialog.showModal();
    /** @type {HTMLElement | null} */ (dialog.querySelector(".close"))?.focus();
    draw();
  };
}
