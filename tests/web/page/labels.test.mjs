import assert from "node:assert/strict";
import { test } from "node:test";

import { applyLabelEdit } from "../../../src/emclick/web/static/js/labels.js";

const cat = { id: 1, name: "cat", color: "#111111", key: null };
const dog = { id: 2, name: "dog", color: "#222222", key: null };

test("adds a label once", () => {
  const edit = { op: "add", name: "cow", color: "#333333" };
  const after = applyLabelEdit([cat], edit);
  assert.deepEqual(after, [cat, { name: "cow", color: "#333333" }]);
  assert.equal(applyLabelEdit(after, edit), after);
});

test("changes the label that was meant, whatever others did to the list meanwhile", () => {
  const edit = { op: "change", id: 2, name: "dog", part: { name: "wolf" } };
  assert.deepEqual(applyLabelEdit([dog, cat], edit), [{ ...dog, name: "wolf" }, cat]);
  const renamed = { ...dog, name: "hound" };
  assert.deepEqual(applyLabelEdit([cat, renamed], edit), [cat, { ...dog, name: "wolf" }]);
  const gone = [cat];
  assert.equal(applyLabelEdit(gone, edit), gone);
});

test("a label that the server has not named yet is known by its name", () => {
  const made = { id: 7, name: "cow", color: "#333333", key: null };
  const edit = { op: "change", id: undefined, name: "cow", part: { color: "#444444" } };
  assert.deepEqual(applyLabelEdit([cat, made], edit), [cat, { ...made, color: "#444444" }]);
  assert.deepEqual(applyLabelEdit([cat, made], { op: "remove", name: "cow" }), [cat]);
});
