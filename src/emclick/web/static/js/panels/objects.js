/** The open image's objects. */

import { attribute, h, setText } from "../dom.js";
import { COMMANDS } from "../commands.js";
import { icon } from "../icons.js";
import { deleteObject, nameOf, patchObject, select } from "../objects.js";
import { colourOf, ordered } from "../store.js";
import { S } from "../strings.js";
import { iconButton } from "./button.js";
import { VirtualList } from "./virtual.js";

/**
 * @typedef {import("../app.js").App} App
 * @typedef {import("../types.js").Obj} Obj
 */

/** @param {App} app @param {HTMLElement} root */
export function makeObjects(app, root) {
  const count = h("span", { class: "quiet numbers" });
  const list = h("div", { class: "list", role: "list", "aria-label": S.objects, "data-testid": "object-list" });
  const empty = h("p", { class: "hint" }, S.noObjects);
  root.append(h("div", { class: "heading" }, h("h2", {}, S.objects), count), empty, list);
  const rows = new VirtualList(list, {
    row: 34,
    key: (/** @type {Obj} */ each) => each.id,
    make: (each) => makeRow(app, each.id),
    update: (row, each, index) => updateRow(app, row, each, index),
  });
  let shown = "";
  app.store.on(["objects", "active", "project", "image"], (state) => {
    const items = ordered(state.objects);
    rows.set(items);
    setText(count, items.length ? String(items.length) : "");
    empty.hidden = items.length > 0 || !state.image;
    if (state.active !== shown) {
      shown = state.active;
      rows.reveal(items.findIndex((each) => each.id === shown));
    }
  });
}

/** @param {App} app @param {string} id */
function makeRow(app, id) {
  const get = () => app.state.objects.get(id);
  const colour = h("input", {
    type: "color",
    class: "colour",
    "aria-label": S.colour,
    title: S.colour,
    onchange: () => patchObject(app, id, { color: colour.value }),
  });
  const name = h(
    "button",
    {
      type: "button",
      class: "object-name",
      onclick: () => select(app, id),
      ondblclick: () => {
        select(app, id);
        COMMANDS.zoomObject(app);
      },
    },
    h("span", { class: "name" }),
    h("span", { class: "quiet numbers tiny" }),
  );
  const eye = iconButton({
    icon: "eye",
    label: S.hide,
    class: "ghost eye",
    press: () => patchObject(app, id, { visible: !get()?.visible }),
  });
  const lock = iconButton({
    icon: "unlock",
    label: S.lock,
    class: "ghost lock",
    press: () => patchObject(app, id, { locked: !get()?.locked }),
  });
  const bin = iconButton({
    icon: "trash",
    label: S.deleteObject,
    class: "ghost bin",
    press: (event) => {
      const list = bin.closest(".list");
      const ids = ordered(app.state.objects).map((each) => each.id);
      const at = ids.indexOf(id);
      if (!deleteObject(app, id)) return;
      app.toast(S.objectDeleted, "info");
      if (event.detail > 0) return; // by a pointer
      // On the next one's: else the keyboard would be back at the top of the page.
      const next = list?.querySelector(`[data-id="${CSS.escape(ids[at + 1] ?? ids[at - 1] ?? "")}"] .bin`);
      (next instanceof HTMLElement ? next : app.stage.root).focus();
    },
  });
  return h(
    "div",
    { class: "object-row", role: "listitem", "data-testid": "object-row", "data-id": id },
    colour,
    name,
    eye,
    lock,
    bin,
  );
}

/** @param {App} app @param {HTMLElement} row @param {Obj} object @param {number} index */
function updateRow(app, row, object, index) {
  const active = app.state.active === object.id;
  attribute(row, "data-active", active);
  attribute(row, "data-hidden", !object.visible);
  const colour = /** @type {HTMLInputElement} */ (row.querySelector(".colour"));
  const value = colourOf(object, app.state.project?.labels ?? []);
  if (colour.value !== value) colour.value = value;
  const name = /** @type {HTMLElement} */ (row.querySelector(".object-name"));
  attribute(name, "aria-pressed", active ? "true" : "false");
  setText(
    /** @type {Element} */ (name.querySelector(".name")),
    object.label ? nameOf(app, object) : S.object(index + 1),
  );
  const note = object.clicks.length ? S.clicks(object.clicks.length) : "";
  setText(/** @type {Element} */ (name.querySelector(".tiny")), object.finished ? note : note || S.inWork);
  attribute(row, "data-finished", object.finished);
  toggleIcon(row, ".eye", object.visible ? "eye" : "eyeOff", object.visible ? S.hide : S.show, !object.visible);
  toggleIcon(row, ".lock", object.locked ? "lock" : "unlock", object.locked ? S.unlock : S.lock, object.locked);
}

/** @param {HTMLElement} row @param {string} which @param {string} name @param {string} label @param {boolean} on */
function toggleIcon(row, which, name, label, on) {
  const button = /** @type {HTMLElement} */ (row.querySelector(which));
  if (button.getAttribute("data-icon") !== name) {
    button.setAttribute("data-icon", name);
    button.firstElementChild?.replaceWith(icon(name));
  }
  button.title = label;
  attribute(button, "aria-label", label);
  attribute(button, "aria-pressed", on ? "true" : "false");
}
