/** @file What the end of a run says of its numbers, and how long a search still takes. */
import { expect, test } from "vitest";
import { overall } from "./overall.js";
import { warningOf } from "./summary.js";

test.each([
  [0.85, 0.95, 0.5, /worse than no prompt \(accuracy 85\.0 against 95\.0\)/],
  [0.95, 0.95, 0.5, /no better than no prompt/],
  [0.5, 0.4, 0.5, /no better than always the most frequent answer \(accuracy 50\.0 against 50\.0\)/],
  [0.45, null, 0.5, /no better than always the most frequent answer/],
  [0.96, 0.95, 0.5, null],
  [0.6, null, null, null],
  // zero is a score, not a missing one
  [0, 0, 0.5, /no better than no prompt/],
])("tuned %f, no prompt %f, majority %f", (score, none, majority, said) => {
  const of = (value: number | null) => (value === null ? null : { accuracy: value });
  const warning = warningOf({ scores: { accuracy: score }, baseline: { noPrompt: of(none), majority: of(majority) } });
  if (said === null) expect(warning).toBeNull();
  else expect(warning).toMatch(said);
});

test("what is left of a search goes by the work that was done, not by what was read back", () => {
  let clock = 0;
  const watch = overall(() => clock);
  const spend = (seconds: number, left: number, size?: number) => {
    watch.begin();
    clock += seconds;
    return watch.end(left, size);
  };
  // read back in no time: nothing is known yet
  expect(spend(0.1, 9)).toBe("");
  expect(spend(600, 3)).toBe("about 30 min left in all");
  // a piece of twice the size
  expect(spend(3000, 2, 2)).toBe("about 40 min left in all");
  expect(spend(0.1, 1)).toBe("about 20 min left in all");
  expect(spend(600, 0)).toBe("");
});
