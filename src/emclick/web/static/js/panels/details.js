/** The object being worked on: threshold and clean-up. Below it: how masks and picture are shown. */

import { attribute, h, setText } from "../dom.js";
import { clean, patchObject } from "../objects.js";
import { DEFAULT_SETTINGS } from "../store.js";
import { S } from "../strings.js";

/**
 * @typedef {import("../app.js").App} App
 * @typedef {import("../types.js").Settings} Settings
 */

/**
 * @param {{label: string, min: number, max: number, step: number, testid: string, text: (value: number) => string,
 *   input: (value: number) => void, title?: string}} options
 */
function slider({ label, min, max, step, testid, text, input, title }) {
  const range = h("input", {
    type: "range",
    class: "range",
    min: String(min),
    max: String(max),
    step: String(step),
    title,
    "aria-label": label,
    "data-testid": testid,
    oninput: () => {
      show(Number(range.value));
      input(Number(range.value));
    },
  });
  const value = h("span", { class: "quiet numbers value" });
  const show = (/** @type {number} */ now) => {
    setText(value, text(now));
    attribute(range, "aria-valuetext", text(now));
  };
  const set = (/** @type {number} */ now) => {
    if (Number(range.value) !== now) range.value = String(now);
    show(now);
  };
  return { row: h("div", { class: "slider-row" }, h("span", {}, label), range, value), range, set };
}

/** @param {App} app @param {string} label @param {keyof Settings} name @param {string} testid @param {string} [title] */
function check(app, label, name, testid, title) {
  const box = h("input", {
    type: "checkbox",
    "data-testid": testid,
    onchange: () => app.store.setSettings({ [name]: box.checked }),
  });
  app.store.on(["settings"], ({ settings }) => (box.checked = Boolean(settings[name])));
  return h("label", { class: "check", title }, box, h("span", {}, label));
}

/** @param {App} app @param {HTMLElement} root */
export function makeDetails(app, root) {
  const threshold = slider({
    label: S.threshold,
    min: 0.05,
    max: 0.95,
    step: 0.01,
    testid: "threshold",
    title: S.thresholdTip,
    text: (value) => value.toFixed(2),
    input: (value) => app.active && patchObject(app, app.active.id, { threshold: value }, true),
  });
  const press = (
    /** @type {string} */ text,
    /** @type {string} */ title,
    /** @type {"largest" | "fill" | "min_area" | "avoid"} */ op,
  ) =>
    h(
      "button",
      { type: "button", class: "button small", title, "data-testid": `clean-${op}`, onclick: () => clean(app, op) },
      text,
    );
  const area = h("input", {
    type: "number",
    class: "input number",
    min: "1",
    max: "1000000",
    "aria-label": S.minArea,
    "data-testid": "min-area",
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Enter" || !app.active || app.active.locked) return;
      event.preventDefault();
      takeArea();
      clean(app, "min_area");
    },
    onchange: () => takeArea(),
  });
  const takeArea = () => app.store.setSettings({ minArea: Math.max(1, Math.round(Number(area.value) || 1)) });
  const object = h(
    "details",
    { class: "section", open: true, "data-testid": "details" },
    h("summary", {}, S.thisObject),
    threshold.row,
    h(
      "div",
      { class: "button-row" },
      press(S.largest, S.largestTip, "largest"),
      press(S.fillHoles, S.fillHolesTip, "fill"),
      press(S.avoid, S.avoidTip, "avoid"),
    ),
    h(
      "div",
      { class: "area-row" },
      h("span", {}, S.minArea),
      area,
      h("span", { class: "quiet" }, "px"),
      press(S.minAreaApply, S.minArea, "min_area"),
    ),
    h("div", { class: "checks" }, check(app, S.avoidAlways, "avoid", "avoid", S.avoidAlwaysTip)),
  );
  let wasUsable = true;
  app.store.on(["objects", "active", "settings"], (state) => {
    const active = state.objects.get(state.active);
    threshold.set(active?.threshold ?? 0.5);
    const usable = Boolean(active && !active.locked);
    if (usable !== wasUsable) {
      wasUsable = usable;
      for (const each of object.querySelectorAll("input:not([type=checkbox]), button")) {
        /** @type {HTMLButtonElement} */ (each).disabled = !usable;
      }
      attribute(object, "data-off", !usable);
    }
    if (document.activeElement !== area) area.value = String(state.settings.minArea);
  });
  root.append(object, viewSection(app));
}

const LOOK = /** @type {const} */ (["opacity", "brightness", "contrast", "outline"]);

/** @param {App} app */
function viewSection(app) {
  const set = (/** @type {keyof Settings} */ name) => (/** @type {number} */ value) =>
    app.store.setSettings({ [name]: value });
  const opacity = slider({
    label: S.opacity,
    min: 0,
    max: 1,
    step: 0.05,
    testid: "opacity",
    text: S.percent,
    input: set("opacity"),
  });
  const brightness = slider({
    label: S.brightness,
    min: 0.2,
    max: 3,
    step: 0.05,
    testid: "brightness",
    text: S.percent,
    input: set("brightness"),
  });
  const contrast = slider({
    label: S.contrast,
    min: 0.2,
    max: 3,
    step: 0.05,
    testid: "contrast",
    text: S.percent,
    input: set("contrast"),
  });
  const reset = h(
    "button",
    {
      type: "button",
      class: "button small reset",
      "data-testid": "reset-view",
      onclick: () => {
        for (const name of LOOK) app.store.setSettings({ [name]: DEFAULT_SETTINGS[name] });
      },
    },
    S.reset,
  );
  app.store.on(["settings"], ({ settings }) => {
    opacity.set(settings.opacity);
    brightness.set(settings.brightness);
    contrast.set(settings.contrast);
    reset.hidden = LOOK.every((name) => settings[name] === DEFAULT_SETTINGS[name]);
  });
  const section = h(
    "details",
    { class: "section", open: true },
    h("summary", {}, S.view),
    opacity.row,
    brightness.row,
    contrast.row,
    h(
      "div",
      { class: "checks" },
      check(app, S.outline, "outline", "outline"),
      check(app, S.preview, "preview", "preview"),
    ),
  );
  return h("div", { class: "with-reset" }, section, reset);
}
