/** Light, dark, or as the system is. Pure. */

/** @typedef {import("./types.js").Settings["theme"]} Theme */

/** The theme after a press of the button: one that looks different first, then what the system has.
 * @param {Theme} theme @param {boolean} dark whether the system is @returns {Theme} */
export function nextTheme(theme, dark) {
  const opposite = dark ? "light" : "dark";
  if (theme === "auto") return opposite;
  return theme === opposite ? (dark ? "dark" : "light") : "auto";
}
