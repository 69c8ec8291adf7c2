/** Buttons that look alike: an icon with a name, its shortcut in the tooltip. */

import { h } from "../dom.js";
import { icon } from "../icons.js";

/**
 * @param {object} options
 * @param {string} options.icon
 * @param {string} options.label said to screen readers, and the tooltip
 * @param {(event: MouseEvent) => void} options.press
 * @param {string} [options.testid]
 * @param {string} [options.class]
 * @param {string} [options.text] shown beside the icon
 */
export function iconButton({ icon: name, label, press, testid, class: kind = "", text }) {
  const button = h("button", {
    type: "button",
    class: `button ${text ? "" : "square "}${kind}`.trim(),
    title: label,
    "aria-label": text ? undefined : label,
    "data-testid": testid,
    onclick: press,
  });
  button.append(icon(name), text ? h("span", {}, text) : "");
  return button;
}

/**
 * Shows which shortcut a button has.
 * @param {HTMLElement} button
 * @param {string} label
 * @param {string[] | undefined} combos
 */
export function withShortcut(button, label, combos) {
  const title = combos?.length ? `${label} (${combos.join(", ")})` : label;
  if (button.title !== title) button.title = title;
}
