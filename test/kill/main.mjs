/** @file `npm run kill-test`: the long form; see long.ts. */
import { longForm } from "../helpers/long-form.mjs";

await longForm("test/kill", "test/fixtures/tiny-t5-v11");
