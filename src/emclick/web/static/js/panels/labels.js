/** Labels: pick one, add, rename, recolour, remove. */

import { attribute, h } from "../dom.js";
import { freshColour } from "../labels.js";
import { editLabels, pickLabel } from "../objects.js";
import { PALETTE, colourOf } from "../store.js";
import { S } from "../strings.js";
import { iconButton } from "./button.js";

/**
 * @typedef {import("../app.js").App} App
 * @typedef {import("../types.js").Label} Label
 */

const STRONG = PALETTE.slice(0, -1); // on its brown a mask is not seen

/** @param {App} app @param {HTMLElement} root */
export function makeLabels(app, root) {
  let editing = false;
  /** @type {Map<string, string>} name -> colour of labels removed here: added again, they look as before */
  const removed = new Map();
  const edit = iconButton({
    icon: "edit",
    label: S.editLabels,
    testid: "edit-labels",
    class: "ghost",
    press: () => {
      editing = !editing;
      draw();
    },
  });
  const list = h("div", { class: "labels", role: "group", "aria-label": S.labels });
  const hint = h("p", { class: "hint" }, S.labelsHint);
  const name = h("input", {
    class: "input",
    placeholder: S.addLabel,
    "aria-label": S.addLabel,
    maxLength: 100,
    "data-testid": "new-label",
  });
  const add = iconButton({ icon: "plus", label: S.addLabel, testid: "add-label", press: () => form.requestSubmit() });
  const form = h(
    "form",
    {
      class: "add-row",
      onsubmit: (/** @type {Event} */ event) => {
        event.preventDefault();
        const text = name.value.trim();
        if (addLabel(app, text, removed.get(text))) name.value = "";
      },
    },
    name,
    add,
  );
  root.append(h("div", { class: "heading" }, h("h2", {}, S.labels), edit), list, hint, form);

  const remove = (/** @type {Label} */ label) => {
    const kept = [...app.state.objects.values()].filter((each) => each.label === label.name).length;
    removed.set(label.name, label.color);
    editLabels(app, { op: "remove", id: label.id, name: label.name });
    if (!kept) return;
    name.value ||= label.name;
    app.toast(S.labelRemoved(label.name, kept), "info");
  };

  let shown = "";
  const draw = () => {
    const { project, settings } = app.state;
    const labels = project?.labels ?? [];
    const current = app.active?.label ?? settings.label;
    const now = JSON.stringify([labels, current, editing]);
    if (now === shown) return;
    shown = now;
    attribute(edit, "aria-pressed", editing ? "true" : "false");
    edit.hidden = !labels.length;
    hint.hidden = labels.length > 0;
    list.replaceChildren(
      ...labels.map((label, i) =>
        editing ? editRow(app, label, () => remove(label)) : pickRow(app, label, i, current),
      ),
    );
  };
  app.store.on(["project", "settings", "active", "objects"], draw);
}

/** @param {App} app @param {Label} label @param {number} i @param {string} current */
function pickRow(app, label, i, current) {
  const swatch = h("i", { class: "swatch" });
  swatch.style.background = label.color;
  const key = label.key ?? (i < 9 ? String(i + 1) : "");
  const chosen = label.name === current;
  return h(
    "button",
    {
      type: "button",
      class: "label-row",
      "data-testid": "label",
      "aria-pressed": chosen ? "true" : "false",
      onclick: () => pickLabel(app, chosen ? "" : label.name),
    },
    swatch,
    h("span", { class: "name" }, label.name),
    key && h("kbd", {}, key),
  );
}

/** @param {App} app @param {Label} label @param {() => void} remove */
function editRow(app, label, remove) {
  const change = (/** @type {{name?: string, color?: string}} */ part) =>
    editLabels(app, { op: "change", id: label.id, name: label.name, part });
  return h(
    "div",
    { class: "label-row" },
    h("input", {
      type: "color",
      class: "colour",
      value: label.color,
      "aria-label": S.labelColour,
      onchange: (/** @type {Event} */ event) =>
        change({ color: /** @type {HTMLInputElement} */ (event.target).value }),
    }),
    h("input", {
      class: "input",
      value: label.name,
      "aria-label": S.labelName,
      maxLength: 100,
      onchange: (/** @type {Event} */ event) => {
        const input = /** @type {HTMLInputElement} */ (event.target);
        const text = input.value.trim();
        const taken = (app.state.project?.labels ?? []).some(
          (each) => each.name === text && each.name !== label.name,
        );
        if (taken) app.toast(S.labelExists(text), "info");
        if (text && !taken) change({ name: text });
        else input.value = label.name;
      },
    }),
    iconButton({ icon: "trash", label: S.removeLabel(label.name), class: "ghost", press: remove }),
  );
}

/** @param {App} app @param {string} name @param {string} [color] @returns {boolean} whether it is there now */
function addLabel(app, name, color) {
  const labels = app.state.project?.labels ?? [];
  if (!name) return false;
  if (labels.some((each) => each.name === name)) {
    app.toast(S.labelExists(name), "info");
    return false;
  }
  // The object being worked on gets the label: what it looks like now is free.
  const others = [...app.state.objects.values()].filter((each) => each.id !== app.state.active);
  const used = [...labels.map((each) => each.color), ...others.map((each) => colourOf(each, labels))];
  editLabels(app, { op: "add", name, color: color ?? freshColour(STRONG, used) });
  pickLabel(app, name);
  return true;
}
