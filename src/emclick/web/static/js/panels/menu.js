/** Export and import: one list of formats. */

import { h } from "../dom.js";
import { icon } from "../icons.js";
import { askFile, exportFile, importFile } from "../files.js";
import { S } from "../strings.js";

/** Rows below a format's own: the options that they ask for. @type {Record<string, Record<string, string>>} */
const WITH_OPTIONS = {
  coco: { "coco-polygons": "polygons=true", "coco-bridged": "polygons=true&bridge_holes=true" },
  labelme: { "labelme-polygons": "polygons=true" },
  voc: { "voc-davis": "davis=true" },
};

/** @param {import("../app.js").App} app */
export function exportMenu(app) {
  const list = h("div", { class: "menu", popover: "auto", id: "formats", "data-testid": "formats" });
  const button = h("button", {
    type: "button",
    class: "button",
    popovertarget: "formats",
    "data-testid": "export",
    title: S.data,
    "aria-haspopup": "true",
  });
  button.setAttribute("popovertarget", "formats");
  button.append(icon("download"), h("span", {}, S.data));
  list.addEventListener("beforetoggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState !== "open") return;
    // Before it is seen: the style sheet keeps it in the window.
    const rect = button.getBoundingClientRect();
    list.style.top = `${rect.bottom + 6}px`;
    list.style.setProperty("--from-right", `${document.documentElement.clientWidth - rect.right}px`);
  });
  list.addEventListener("toggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState === "open") return;
    // Back to the picture: Enter is for finishing, not for opening the menu again.
    if (document.activeElement === button && !button.matches(":focus-visible")) {
      app.stage.root.focus({ preventScroll: true });
    }
  });
  const anchor = h("div", { class: "menu-anchor" }, button, list);
  anchor.addEventListener("keydown", (event) => {
    if (!list.matches(":popover-open") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (moveInMenu(list, event.key)) event.preventDefault();
  });
  app.store.on(["project"], ({ project }) => {
    /** @param {string} name @param {string} format @param {boolean} lossy @param {string} options */
    const download = (name, format, lossy, options) =>
      h(
        "button",
        {
          type: "button",
          class: "menu-item",
          title: lossy ? (S.lossyTip[name] ?? S.lossy) : S.exactTip,
          "data-testid": `export-${name}`,
          onclick: () => {
            list.hidePopover();
            void exportFile(app, format, options);
          },
        },
        h("span", {}, S.formatName[name] ?? name),
        h("span", { class: "quiet" }, lossy ? S.lossy : S.exact),
      );
    const rows = (project?.formats ?? []).flatMap(({ name, lossy }) => [
      h(
        "div",
        { class: "menu-row" },
        download(name, name, lossy, ""),
        h(
          "button",
          {
            type: "button",
            class: "button small",
            title: S.importTip,
            "data-testid": `import-${name}`,
            "aria-label": `${S.importFrom}: ${S.formatName[name] ?? name}`,
            onclick: () => {
              list.hidePopover();
              askFile("", (file) => void importFile(app, name, file));
            },
          },
          S.importFrom,
        ),
      ),
      ...Object.entries(WITH_OPTIONS[name] ?? {}).map(([row, options]) =>
        h("div", { class: "menu-row" }, download(row, name, lossy, options)),
      ),
    ]);
    list.replaceChildren(h("p", { class: "menu-title" }, S.exportAs), ...rows);
  });
  return anchor;
}

/** Moves the focus from row to row, and round at the ends. @param {HTMLElement} list @param {string} key
 * @returns {boolean} whether the key is one of the menu's */
function moveInMenu(list, key) {
  /** @type {NodeListOf<HTMLElement>} */
  const items = list.querySelectorAll(".menu-item");
  const row = document.activeElement?.closest(".menu-row");
  const at = [...items].findIndex((each) => each.parentElement === row);
  const last = items.length - 1;
  const to = { ArrowDown: at < last ? at + 1 : 0, ArrowUp: at > 0 ? at - 1 : last, Home: 0, End: last }[key];
  if (to === undefined) return false;
  items[to]?.focus();
  return true;
}
