import assert from "node:assert/strict";
import { test } from "node:test";

import { nextTheme } from "../../../src/emclick/web/static/js/theme.js";

test("the first press changes what is seen, and every theme comes round", () => {
  for (const dark of [false, true]) {
    const seen = ["auto"];
    for (let i = 0; i < 3; i++) seen.push(nextTheme(seen[i], dark));
    assert.deepEqual(seen, dark ? ["auto", "light", "dark", "auto"] : ["auto", "dark", "light", "auto"]);
  }
});
