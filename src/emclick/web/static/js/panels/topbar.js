/** Top bar: the folder and its progress, the open image, whether all is saved, zoom, export, help, theme. */

import { COMMANDS } from "../commands.js";
import { attribute, byId, h, setText } from "../dom.js";
import { icon } from "../icons.js";
import { listed, toggleDone } from "../images.js";
import { bindings } from "../keys.js";
import { countStatus, isAway } from "../store.js";
import { nextTheme } from "../theme.js";
import { S } from "../strings.js";
import { iconButton, withShortcut } from "./button.js";
import { exportMenu } from "./menu.js";

/** @typedef {import("../app.js").App} App */

/** @param {App} app @param {HTMLElement} root */
export function makeTopbar(app, root) {
  const run = (/** @type {string} */ name) => () => COMMANDS[name](app);
  const drawer = (/** @type {string} */ name) => () => {
    const open = document.body.getAttribute("data-drawer") === name;
    attribute(document.body, "data-drawer", open ? null : name);
  };
  const project = h("span", { class: "project", "data-testid": "project" });
  const bar = h("div", { class: "progress", role: "progressbar", "aria-valuemin": "0", "data-testid": "progress" });
  const [doneBar, workBar] = [h("i", { class: "done" }), h("i", { class: "work" })];
  bar.append(doneBar, workBar);
  const progressText = h("span", { class: "quiet numbers" });
  const previous = iconButton({
    icon: "left",
    label: S.previousImage,
    press: run("previousImage"),
    testid: "previous",
  });
  const next = iconButton({ icon: "right", label: S.nextImage, press: run("nextImage"), testid: "next" });
  const name = h("span", { class: "image-name", "data-testid": "image-name" });
  const place = h("span", { class: "quiet numbers" });
  const done = iconButton({
    icon: "check",
    label: S.markDoneTip,
    text: S.markDoneShort,
    press: () => toggleDone(app),
    testid: "done",
    class: "toggle",
  });
  const doneShort = /** @type {HTMLElement} */ (done.querySelector("span")); // where there is no room for the other
  const doneText = h("span", { class: "long" });
  doneShort.className = "short";
  done.append(doneText);
  const mark = h("span", { class: "mark", "data-testid": "saved" });
  const markText = h("span");
  mark.append(icon("check"), markText);
  const zoomOut = iconButton({ icon: "minus", label: S.zoomOut, press: run("zoomOut") });
  const zoomIn = iconButton({ icon: "plus", label: S.zoomIn, press: run("zoomIn") });
  const percent = h("button", {
    type: "button",
    class: "button zoom numbers",
    onclick: run("zoomFull"),
    "data-testid": "zoom",
  });
  const fit = iconButton({ icon: "fit", label: S.fit, press: run("fit"), testid: "fit" });
  const help = iconButton({ icon: "help", label: S.help, press: run("help"), testid: "help" });
  const theme = iconButton({
    icon: "auto",
    label: S.theme.auto,
    testid: "theme",
    press: () => {
      const { matches: dark } = matchMedia("(prefers-color-scheme: dark)");
      app.store.setSettings({ theme: nextTheme(app.state.settings.theme, dark) });
    },
  });

  const skip = byId("skip"); // before all that is in the way to the picture
  setText(skip, S.skip);
  skip.addEventListener("click", (event) => {
    event.preventDefault(); // the address says which image is open
    app.stage.root.focus();
    attribute(app.stage.root, "data-ring", true);
  });

  root.append(
    iconButton({ icon: "images", label: S.showImages, press: drawer("images"), class: "drawer-button" }),
    h("div", { class: "group brand" }, project, bar, progressText),
    h("div", { class: "group centre" }, previous, h("div", { class: "naming" }, name, place), next, done),
    h(
      "div",
      { class: "group end" },
      mark,
      h("div", { class: "joined zooming" }, zoomOut, percent, zoomIn, fit),
      exportMenu(app),
      help,
      theme,
    ),
    iconButton({ icon: "list", label: S.showObjects, press: drawer("side"), class: "drawer-button" }),
  );

  app.store.on(["project", "images", "image", "opened", "filter", "search"], (state) => {
    const usable = state.images.filter((each) => !each.problem); // the others cannot be done
    const counts = countStatus(usable);
    const total = usable.length;
    setText(project, state.project?.name ?? S.product);
    setText(progressText, total ? S.folderProgress(counts.done, total) : "");
    doneBar.style.width = `${(100 * counts.done) / Math.max(total, 1)}%`;
    workBar.style.width = `${(100 * counts.work) / Math.max(total, 1)}%`;
    attribute(bar, "aria-valuemax", String(total));
    attribute(bar, "aria-valuenow", String(counts.done));
    attribute(bar, "aria-label", S.folderProgress(counts.done, total));
    const entry = state.images.find((each) => each.id === state.opened);
    setText(name, entry ? entry.name.slice(entry.name.lastIndexOf("/") + 1) : "");
    name.title = entry?.name ?? "";
    const list = listed(app);
    const at = list.findIndex((each) => each.id === state.opened);
    setText(place, at < 0 ? "" : S.position(at + 1, list.length));
    const isDone = state.image?.status === "done";
    setText(doneText, isDone ? S.isDone : S.markDone);
    done.title = isDone ? S.reopenTip : S.markDoneTip;
    attribute(done, "aria-pressed", isDone ? "true" : "false");
    done.disabled = !state.image;
    document.title = S.title(state.project?.name ?? "", state.image?.name ?? "");
  });

  app.store.on(["connection", "waiting", "why"], ({ connection, waiting, why }) => {
    setText(markText, isAway(connection) ? S.notSaved : connection === "saving" ? S.saving : S.saved);
    mark.title = S.connection[connection](waiting, why);
    attribute(mark, "data-state", connection);
    const glyph = isAway(connection) ? "warning" : "check";
    if (mark.getAttribute("data-icon") !== glyph) {
      mark.setAttribute("data-icon", glyph);
      mark.firstElementChild?.replaceWith(icon(glyph));
    }
  });

  app.store.on(["settings"], ({ settings }) => {
    const label = S.theme[settings.theme];
    theme.title = label;
    attribute(theme, "aria-label", label);
    if (theme.getAttribute("data-icon") !== settings.theme) {
      theme.setAttribute("data-icon", settings.theme);
      theme.firstElementChild?.replaceWith(icon(settings.theme));
    }
    const bound = bindings(settings.keys);
    withShortcut(previous, S.previousImage, bound.previousImage);
    withShortcut(next, S.nextImage, bound.nextImage);
    withShortcut(fit, S.fit, bound.fit);
    withShortcut(percent, S.zoomFull, bound.zoomFull);
    withShortcut(help, S.help, bound.help);
  });

  app.stage.moved.push(() => setText(percent, S.percent(app.stage.view.zoom)));
}
