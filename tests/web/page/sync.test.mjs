import assert from "node:assert/strict";
import { test } from "node:test";

import { allSeen } from "../../../src/emclick/web/static/js/sync.js";

test("news is known if every number of it is", () => {
  assert.ok(allSeen(new Set([4, 5, 6]), 3, 6));
  assert.ok(allSeen(new Set(), 6, 6));
  assert.ok(!allSeen(new Set([4, 6]), 3, 6)); // the fifth was made elsewhere
  assert.ok(!allSeen(new Set([4]), 3, 2 ** 40));
});
