/** @file `npm run fuzz-test`: the long form; see long.ts. */
import { longForm } from "../helpers/long-form.mjs";

await longForm("test/fuzz", "test/fixtures");
