/** Bottom bar (what to do now, where the pointer is, how long the last click took), messages, and the spinner. */

import { attribute, h, setText } from "../dom.js";
import { icon } from "../icons.js";
import { isInside, toScreen } from "../geometry.js";
import { isAway } from "../store.js";
import { S } from "../strings.js";

/** @typedef {import("../app.js").App} App */

const SHOWN_MS = Object.freeze({ info: 3500, error: 8000 });
const QUIET_MS = 150;

const CLICK_HINTS = Object.freeze([
  [S.hintStart, S.hintObject],
  [S.hintStartTouch, S.hintObjectTouch],
]);
const coarse = matchMedia("(hover: none) and (pointer: coarse)"); // fingers only

/** What to do now. @param {import("../store.js").State} state */
function hint(state) {
  if (state.loading && !state.image) return S.loading;
  if (!state.image) return "";
  if (state.batch.length) return S.hintBatch;
  if (state.crosshair) return S.hintCrosshair;
  const active = state.objects.get(state.active);
  const hints = {
    click: state.swapped ? S.hintSwapped : CLICK_HINTS[Number(coarse.matches)][Number(Boolean(active))],
    brush: S.hintBrush,
    erase: S.hintErase,
    polygon: active ? S.hintPolygon : S.hintPolygonEmpty,
  };
  return hints[state.tool];
}

/** @param {App} app @param {HTMLElement} root */
export function makeStatus(app, root) {
  const text = h("span", { class: "hint-line", "data-testid": "hint" });
  const size = h("span", { class: "quiet numbers" });
  const place = h("span", { class: "quiet numbers place", "data-testid": "pointer" });
  const took = h("span", { class: "quiet numbers", "data-testid": "took" });
  const model = h("span", { class: "quiet" });
  root.append(text, h("span", { class: "spring" }), place, size, took, model);
  app.store.on([], (state) => {
    setText(text, hint(state));
    setText(model, state.project ? S.model(state.project.model) : "");
    setText(size, state.image ? S.size(state.image.width, state.image.height) : "");
  });
  app.onSample = ({ ms }) => setText(took, S.took(ms));
  app.stage.moved.push(() => {
    const { pointer } = app.stage.live;
    const image = app.state.image;
    const at = pointer && app.stage.imagePointAt(pointer);
    setText(place, at && image && isInside(image, at) ? S.at(Math.round(at.x), Math.round(at.y)) : "");
  });
}

const MOST = 3;

/** Short messages; the newest replaces one that says the same. @param {App} app @param {HTMLElement} root */
export function makeToasts(app, root) {
  attribute(root, "data-testid", "toasts");
  app.clearToasts = () => {
    root.replaceChildren();
  };
  app.toast = (text, kind) => {
    for (const each of [...root.children]) if (each.getAttribute("data-text") === text) each.remove();
    const close = h("button", {
      type: "button",
      class: "button ghost square",
      "aria-label": S.dismiss,
      onclick: () => toast.remove(),
    });
    close.append(icon("cross"));
    const toast = h(
      "div",
      { class: `toast ${kind}`, role: kind === "error" ? "alert" : "status", "data-text": text },
      h("span", {}, text),
      close,
    );
    root.append(toast);
    while (root.children.length > MOST) root.firstElementChild?.remove();
    setTimeout(() => toast.remove(), SHOWN_MS[kind]);
  };
}

/** The plain message while the server is away, and the spinner at the last click. @param {App} app */
export function makeStageNotes(app) {
  const words = h("span");
  const retry = h(
    "button",
    {
      type: "button",
      class: "button small",
      onclick: () => {
        app.outbox.retry();
        if (app.state.connection === "denied") location.reload();
      },
    },
    S.retry,
  );
  const banner = h(
    "div",
    { class: "banner", role: "alert", hidden: true, "data-testid": "banner", "data-stage-ui": "" },
    icon("warning"),
    words,
    retry,
  );
  const spinner = h("div", { class: "spinner", hidden: true, "data-testid": "spinner" });
  const cover = h(
    "div",
    { class: "cover", hidden: true },
    h("div", { class: "spinner still" }),
    h("span", {}, S.loading),
  );
  const problem = h(
    "div",
    { class: "cover", hidden: true, role: "alert", "data-testid": "problem" },
    icon("warning"),
    h("span"),
  );
  app.stage.root.append(banner, spinner, cover, problem);
  app.store.on(["problem", "loading", "images"], (state) => {
    const text = state.problem || (state.project && !state.images.length ? S.noImages : "");
    setText(/** @type {Element} */ (problem.lastElementChild), text);
    problem.hidden = !text || Boolean(state.loading);
  });
  app.store.on(["connection", "waiting", "why"], ({ connection, waiting, why }) => {
    setText(words, isAway(connection) ? S.connection[connection](waiting, why) : "");
    banner.hidden = !isAway(connection);
  });
  app.store.on(["busy", "waiting"], ({ busy, active }) => {
    const click = app.unsent(active).at(-1) ?? app.active?.clicks.at(-1);
    spinner.hidden = !busy || !click;
    attribute(app.stage.root, "aria-busy", busy ? "true" : null);
    if (busy && click) {
      const at = toScreen(app.stage.view, click.x, click.y);
      spinner.style.transform = `translate(${at.x}px, ${at.y}px)`;
    }
  });
  let timer = 0;
  app.store.on(["loading"], ({ loading }) => {
    clearTimeout(timer);
    if (loading) timer = window.setTimeout(() => (cover.hidden = false), QUIET_MS);
    else cover.hidden = true;
  });
}
