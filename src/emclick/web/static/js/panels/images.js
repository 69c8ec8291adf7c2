/** The folder's images: find, filter, open. */

import { attribute, h, setText } from "../dom.js";
import { listed, openImage, openNextUnfinished } from "../images.js";
import { countStatus } from "../store.js";
import { S } from "../strings.js";
import { VirtualList } from "./virtual.js";

/** @typedef {import("../types.js").ImageEntry} ImageEntry */

const FILTERS = /** @type {const} */ (["all", "todo", "work", "done"]);
const ROW_PX = 58;

/** @param {import("../app.js").App} app @param {HTMLElement} root */
export function makeImages(app, root) {
  attribute(root, "aria-label", S.images);
  const search = h("input", {
    type: "search",
    class: "input",
    placeholder: S.search,
    "aria-label": S.search,
    "data-testid": "search",
    oninput: () => app.store.set({ search: search.value }),
    onkeydown: (/** @type {KeyboardEvent} */ event) => {
      if (event.isComposing) return;
      const hit = listed(app)[0];
      if (event.key === "ArrowDown" && hit) list.focus();
      else if (event.key === "Enter" && hit && search.value.trim()) {
        void openImage(app, hit.id);
        app.stage.root.focus({ preventScroll: true });
      } else return;
      event.preventDefault();
    },
  });
  const tabs = FILTERS.map((name) =>
    h(
      "button",
      {
        type: "button",
        class: "chip",
        "data-testid": `filter-${name}`,
        onclick: () => app.store.set({ filter: name }),
      },
      h("span", {}, S.filter[name]),
      h("span", { class: "count numbers" }),
    ),
  );
  const list = h("div", {
    class: "list",
    role: "listbox",
    tabIndex: 0,
    "aria-label": S.images,
    "data-testid": "image-list",
  });
  const empty = h("p", { class: "empty" });
  const next = h(
    "button",
    {
      type: "button",
      class: "button wide",
      "data-testid": "next-unfinished",
      onclick: () => openNextUnfinished(app),
    },
    S.nextUnfinished,
  );
  root.append(
    search,
    h("div", { class: "chips", role: "group", "aria-label": S.images }, ...tabs),
    list,
    empty,
    next,
  );

  const rows = new VirtualList(list, {
    row: ROW_PX,
    key: (/** @type {ImageEntry} */ item) => item.id,
    make: makeRow,
    update: (row, item, index) =>
      updateRow(row, item, index, app.state.opened === item.id, app.state.loading === item.id, rows.items.length),
  });
  list.addEventListener("click", (event) => {
    const row = event.target instanceof Element ? event.target.closest("[data-id]") : null;
    if (row) void openImage(app, row.getAttribute("data-id") ?? "");
  });

  // The arrows are the keyboard's, see `connectListKeys`.
  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const items = listed(app);
    const page = Math.max(1, Math.floor(list.clientHeight / ROW_PX) - 1);
    const at = items.findIndex((each) => each.id === (app.state.loading || app.state.opened));
    const to = { Home: 0, End: items.length - 1, PageUp: at - page, PageDown: at + page }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const item = items[Math.min(Math.max(to, 0), items.length - 1)];
    if (item) void openImage(app, item.id);
  });

  let shown = "";
  app.store.on(["images", "filter", "search", "opened", "loading"], (state) => {
    const items = listed(app);
    const usable = state.images.filter((each) => !each.problem); // the others cannot be done
    const counts = { all: state.images.length, ...countStatus(usable) };
    FILTERS.forEach((name, i) => {
      attribute(tabs[i], "aria-pressed", state.filter === name ? "true" : "false");
      setText(/** @type {Element} */ (tabs[i].lastElementChild), String(counts[name]));
    });
    rows.set(items);
    const id = state.loading || state.opened;
    attribute(list, "aria-activedescendant", id ? `image-${id}` : null);
    if (id !== shown) {
      shown = id;
      rows.reveal(items.findIndex((each) => each.id === id));
    }
    empty.hidden = items.length > 0 || !state.project;
    list.hidden = !items.length;
    setText(empty, state.images.length ? S.noMatch : S.noImages);
    next.disabled = counts.done === usable.length;
  });
}

/** @param {ImageEntry} item */
function makeRow(item) {
  return h(
    "div",
    { class: "image-row", role: "option", id: `image-${item.id}`, "data-id": item.id, "data-testid": "image-row" },
    h("img", {
      class: "thumb",
      alt: "",
      loading: "lazy",
      decoding: "async",
      width: 64,
      height: 46,
      // Nothing rather than the browser's sign for a broken image.
      onerror: (/** @type {Event} */ event) => /** @type {Element} */ (event.target).removeAttribute("src"),
      src: item.problem
        ? undefined
        : `./api/images/${encodeURIComponent(item.id)}/thumbnail?v=${encodeURIComponent(item.version)}`,
    }),
    h("span", { class: "image-text" }, h("span", { class: "name" }), h("span", { class: "quiet name line" })),
    h("span", { class: "dot" }),
  );
}

/**
 * @param {HTMLElement} row
 * @param {ImageEntry} item
 * @param {number} index
 * @param {boolean} open
 * @param {boolean} loading
 * @param {number} of
 */
function updateRow(row, item, index, open, loading, of) {
  attribute(row, "aria-selected", open ? "true" : "false");
  attribute(row, "aria-posinset", String(index + 1));
  attribute(row, "aria-setsize", String(of));
  attribute(row, "aria-label", `${item.name}, ${S.statusOf[item.status]}, ${S.objectCount(item.objects)}`);
  attribute(row, "data-loading", loading);
  const end = item.name.lastIndexOf("/") + 1;
  setText(/** @type {Element} */ (row.querySelector(".name")), item.name.slice(end));
  // The folder tells two files of one name apart; where there is none, there is room for words.
  const folder = item.name.slice(0, Math.max(end - 1, 0));
  const about = folder ? S.inFolder(item.objects, folder) : S.objectCount(item.objects);
  setText(/** @type {Element} */ (row.querySelector(".line")), item.problem ? S.unusable : about);
  row.title = item.problem ?? `${item.name}, ${S.objectCount(item.objects)}`;
  attribute(row, "data-problem", Boolean(item.problem));
  if (item.problem) row.querySelector("img")?.removeAttribute("src");
  const dot = /** @type {HTMLElement} */ (row.querySelector(".dot"));
  attribute(dot, "data-status", item.status);
  dot.title = S.statusOf[item.status];
}
