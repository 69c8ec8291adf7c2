/** Small helpers for making elements. */

/**
 * An element with properties and children. `class`, `data-*`, `aria-*` and `role` are set as attributes, `on*` as
 * listeners, all else as properties.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, unknown>} [props]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (name === "class" || name === "role" || name === "for" || name === "list" || name.includes("-")) {
      element.setAttribute(name, String(value));
    } else /** @type {any} */ (element)[name] = value;
  }
  element.append(...children.filter((each) => each !== null && each !== undefined && each !== false).map(node));
  return element;
}

/** @param {any} child @returns {Node | string} */
const node = (child) => child;

/** @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * Sets an attribute or takes it away.
 * @param {Element} element
 * @param {string} name
 * @param {string | boolean | null} value
 */
export function attribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else {
    const text = value === true ? "" : value;
    if (element.getAttribute(name) !== text) element.setAttribute(name, text);
  }
}

/** Sets the text if it differs, so that nothing is laid out or announced anew for nothing.
 * @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether typing goes into this element. @param {EventTarget | null} target */
export function takesText(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  return (
    target instanceof HTMLInputElement && !["checkbox", "radio", "range", "button", "file"].includes(target.type)
  );
}

/** Whether a menu is open: what closes it is to do nothing else. */
export const menuIsOpen = () => document.querySelector("[popover]:popover-open") !== null;

/** A canvas's 2D context. @param {HTMLCanvasElement} canvas @param {CanvasRenderingContext2DSettings} [settings] */
export function context2d(canvas, settings) {
  const context = canvas.getContext("2d", settings);
  if (!context) throw new Error("this browser gives no 2D canvas");
  return context;
}
