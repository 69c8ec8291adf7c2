/** The tools beside the picture. */

import { COMMANDS } from "../commands.js";
import { attribute, h, setText } from "../dom.js";
import { bindings } from "../keys.js";
import { S } from "../strings.js";
import { iconButton, withShortcut } from "./button.js";

/** @type {[tool: import("../types.js").Tool, command: string, icon: string, label: string][]} */
const TOOLS = [
  ["click", "clickTool", "click", S.click],
  ["brush", "brush", "brush", S.brush],
  ["erase", "eraser", "erase", S.eraser],
  ["polygon", "polygon", "polygon", S.polygon],
];

/** @type {[command: string, icon: string, label: string][]} */
const ACTIONS = [
  ["undo", "undo", S.undo],
  ["redo", "redo", S.redo],
  ["finish", "check", S.finish],
  ["cancel", "cross", S.cancel],
  ["loadMask", "mask", S.loadMask],
];

/** @param {import("../app.js").App} app @param {HTMLElement} root */
export function makeTools(app, root) {
  attribute(root, "aria-label", S.tools);
  const tools = TOOLS.map(([tool, command, name, label]) =>
    iconButton({
      icon: name,
      label,
      testid: `tool-${tool}`,
      class: "tool",
      press: () => {
        if (app.state.tool !== tool) COMMANDS[command](app);
      },
    }),
  );
  const swap = iconButton({
    icon: "swap",
    label: S.swap,
    testid: "swap",
    class: "tool",
    press: () => COMMANDS.swap(app),
  });
  const actions = ACTIONS.map(([command, name, label]) =>
    iconButton({ icon: name, label, testid: command, class: "tool", press: () => COMMANDS[command](app) }),
  );
  const size = h("input", {
    type: "range",
    class: "range upright",
    min: "0",
    max: "100",
    step: "1",
    "aria-label": S.brushSize,
    "data-testid": "brush-size",
    oninput: () => app.store.setSettings({ brushSize: toSize(Number(size.value)) }),
  });
  const sizeText = h("span", { class: "quiet numbers tiny" });
  const sizing = h("div", { class: "sizing" }, size, sizeText);
  const rule = () => h("hr", { class: "rule", role: "presentation" });
  root.append(...tools, swap, rule(), ...actions.slice(0, 2), rule(), ...actions.slice(2), sizing);

  app.store.on(["tool", "swapped", "settings"], ({ tool, swapped, settings }) => {
    const bound = bindings(settings.keys);
    TOOLS.forEach(([name, command, , label], i) => {
      attribute(tools[i], "aria-pressed", name === tool ? "true" : "false");
      withShortcut(tools[i], label, bound[command]);
    });
    const erases = tool === "erase" || (tool === "click" && swapped);
    attribute(swap, "aria-pressed", erases ? "true" : "false");
    withShortcut(swap, tool === "click" ? (swapped ? S.swapExcludes : S.swapIncludes) : S.swap, bound.swap);
    ACTIONS.forEach(([command, , label], i) => withShortcut(actions[i], label, bound[command]));
    sizing.hidden = tool !== "brush" && tool !== "erase";
    if (document.activeElement !== size) size.value = String(toSlider(settings.brushSize));
    setText(sizeText, S.px(settings.brushSize));
    attribute(size, "aria-valuetext", S.px(settings.brushSize));
  });

  app.store.on(["objects", "active", "image", "batch", "waiting"], (state) => {
    const active = state.objects.get(state.active);
    const [undo, redo, finish, cancel, load] = actions;
    undo.disabled = !(state.batch.length || active?.can_undo || state.waiting || state.image?.can_undo);
    redo.disabled = !(active?.can_redo || state.waiting || state.image?.can_redo);
    finish.disabled = cancel.disabled = !active && !state.batch.length;
    load.disabled = !state.image;
  });
}

/** Small sizes get most of the slider. @param {number} value 0 to 100 */
const toSize = (value) => Math.max(1, Math.round(500 ** (value / 100)));

/** @param {number} size px */
const toSlider = (size) => (100 * Math.log(size)) / Math.log(500);
