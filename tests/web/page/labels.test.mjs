import assert from "node:assert/strict";
import { test } from "node:test";

import { applyLabelEdit, colourDistance, freshColour } from "../../../src/emclick/web/static/js/labels.js";
import { PALETTE } from "../../../src/emclick/web/static/js/store.js";

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

test("new labels are of the first colours that no other can be taken for", () => {
  assert.equal(freshColour(PALETTE, []), PALETTE[0]);
  assert.equal(freshColour(PALETTE, [PALETTE[0]]), PALETTE[1]);
  assert.equal(freshColour(PALETTE, ["#3090f8"]), PALETTE[1]); // as good as the first
  const used = [];
  for (let i = 0; i < PALETTE.length; i++) used.push(freshColour(PALETTE, used));
  assert.equal(new Set(used).size, PALETTE.length);
  const near = (list) => list.some((a, i) => list.slice(0, i).some((b) => colourDistance(a, b) < 120));
  assert.ok(!near(used.slice(0, 8)));
  assert.ok(PALETTE.includes(freshColour(PALETTE, [...used, ...used])));
  assert.notEqual(freshColour(PALETTE, used), freshColour(PALETTE, [...used, PALETTE[0]]));
});

test("colours differ as much one way as the other", () => {
  assert.equal(colourDistance("#123456", "#123456"), 0);
  assert.equal(colourDistance("#ff0000", "#00ff00"), colourDistance("#00ff00", "#ff0000"));
  assert.ok(colourDistance("#000000", "#ffffff") > 700);
});
