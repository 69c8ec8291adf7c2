/** A list of any length: only the rows in sight exist. Rows keep their element, and so their focus, while in sight. */

import { h } from "../dom.js";

/**
 * @template T
 * @typedef {object} ListOptions
 * @property {number} row height of a row, CSS px
 * @property {(item: T) => string} key
 * @property {(item: T) => HTMLElement} make
 * @property {(element: HTMLElement, item: T, index: number) => void} update
 */

const SPARE = 4;

/** @template T */
export class VirtualList {
  /** @param {HTMLElement} root scrolls @param {ListOptions<T>} options */
  constructor(root, options) {
    this.root = root;
    this.options = options;
    /** @type {readonly T[]} */
    this.items = [];
    /** @type {Map<string, HTMLElement>} */
    this.rows = new Map();
    this.filler = h("div", { class: "filler", role: "presentation" });
    root.append(this.filler);
    // Kept here: asking the element for them in the middle of changes would lay out the whole page.
    this.top = 0;
    this.height = 0;
    const scrolled = () => {
      this.top = root.scrollTop;
      this.draw();
    };
    root.addEventListener("scroll", scrolled, { passive: true });
    const resized = (/** @type {ResizeObserverEntry[]} */ entries) => {
      this.height = entries[entries.length - 1].contentRect.height;
      this.draw();
    };
    new ResizeObserver(resized).observe(root);
  }

  /** @param {readonly T[]} items */
  set(items) {
    if (items.length !== this.items.length) this.filler.style.height = `${items.length * this.options.row}px`;
    this.items = items;
    this.draw();
  }

  draw() {
    const { row, key, make, update } = this.options;
    const first = Math.max(0, Math.floor(this.top / row) - SPARE);
    const last = Math.min(this.items.length, Math.ceil((this.top + this.height) / row) + SPARE);
    /** @type {Map<string, HTMLElement>} */
    const rows = new Map();
    for (let i = first; i < last; i++) {
      const item = this.items[i];
      const name = key(item);
      const element = this.rows.get(name) ?? make(item);
      rows.set(name, element);
      const place = `translateY(${i * row}px)`;
      if (element.style.transform !== place) element.style.transform = place;
      update(element, item, i);
      if (!element.isConnected) this.filler.append(element);
    }
    for (const [name, element] of this.rows) if (!rows.has(name)) element.remove();
    this.rows = rows;
  }

  /** Scrolls as little as needed. @param {number} index */
  reveal(index) {
    if (index < 0) return;
    const { row } = this.options;
    const { scrollTop, clientHeight } = this.root;
    if (index * row < scrollTop) this.root.scrollTop = index * row;
    else if ((index + 1) * row > scrollTop + clientHeight) this.root.scrollTop = (index + 1) * row - clientHeight;
  }
}
