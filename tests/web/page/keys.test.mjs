import assert from "node:assert/strict";
import { test } from "node:test";

import {
  DEFAULT_KEYS,
  assign,
  bindings,
  changes,
  comboOf,
  isAssignable,
  keycaps,
  lookup,
  ownerOf,
} from "../../../src/emclick/web/static/js/keys.js";

test("key presses are named alike on every keyboard", () => {
  assert.equal(comboOf({ key: "z", ctrlKey: true }), "Ctrl+Z");
  assert.equal(comboOf({ key: "Z", metaKey: true, shiftKey: true }), "Ctrl+Shift+Z");
  assert.equal(comboOf({ key: "Z" }), "Z"); // caps lock
  assert.equal(comboOf({ key: "?", shiftKey: true }), "?");
  assert.equal(comboOf({ key: " " }), "Space");
  assert.equal(comboOf({ key: "Backspace", shiftKey: true }), "Shift+Backspace");
  assert.equal(comboOf({ key: "&", code: "Digit1" }), "1"); // French
  assert.equal(comboOf({ key: "!", code: "Digit1", shiftKey: true }), "!");
  assert.equal(comboOf({ key: "Shift", shiftKey: true }), "");
  const altGraph = { key: "[", ctrlKey: true, altKey: true, getModifierState: (name) => name === "AltGraph" };
  assert.equal(comboOf(altGraph), "["); // German
});

test("no two commands share a key by default", () => {
  const combos = Object.values(DEFAULT_KEYS).flat();
  assert.equal(new Set(combos).size, combos.length);
  assert.equal(lookup(bindings({})).size, combos.length);
});

test("a changed shortcut is taken from the command that had it, and only changes are stored", () => {
  const bound = assign(bindings({}), "finish", "B");
  assert.deepEqual(bound.finish, ["B"]);
  assert.deepEqual(bound.brush, []);
  const stored = changes(bound);
  assert.deepEqual(stored, { finish: ["B"], brush: [] });
  assert.deepEqual(bindings(stored), bound);
  assert.equal(lookup(bound).get("B"), "finish");
});

test("the command that loses a key is known", () => {
  assert.equal(ownerOf(bindings({}), "finish", "E"), "eraser");
  assert.equal(ownerOf(bindings({}), "eraser", "E"), "");
  assert.equal(ownerOf(bindings({ eraser: [] }), "finish", "E"), "");
});

test("Tab stays with the browser", () => {
  assert.deepEqual(["Tab", "Shift+Tab", "Ctrl+Tab", "T", "Shift+T", "+", "Ctrl++"].map(isAssignable), [
    false,
    false,
    false,
    true,
    true,
    true,
    true,
  ]);
  assert.deepEqual(bindings({ finish: ["Tab", "Q"], undo: ["Shift+Tab"] }).finish, ["Q"]);
});

test("unusable stored shortcuts are left out", () => {
  assert.deepEqual(bindings(null), bindings({}));
  assert.deepEqual(bindings({ nonsense: ["Q"], undo: "Q", redo: [1, "R"] }).redo, ["R"]);
  assert.deepEqual(bindings({ undo: "Q" }).undo, DEFAULT_KEYS.undo);
  assert.ok(!("nonsense" in bindings({ nonsense: ["Q"] })));
});

test("keycaps", () => {
  assert.deepEqual(keycaps("Ctrl+Shift+Z", false), ["Ctrl", "Shift", "Z"]);
  assert.deepEqual(keycaps("Ctrl+Z", true), ["⌘", "Z"]);
  assert.deepEqual(keycaps("+", false), ["+"]);
  assert.deepEqual(keycaps("Ctrl++", false), ["Ctrl", "+"]);
  assert.deepEqual(keycaps("ArrowLeft", false), ["←"]);
});
