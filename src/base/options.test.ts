import { expect, expectTypeOf, test } from "vitest";
import { interrupted, nearest, SoftpromptError } from "./errors.js";
import {
  boolean,
  checkOptions,
  choice,
  defaults,
  flagName,
  flagWords,
  integer,
  list,
  map,
  number,
  type OptionValues,
  optionsOf,
  readOptions,
  string,
} from "./options.js";

const table = {
  learningRate: number({ default: 0.3, min: 0, help: "step size", source: "xprompt.md §2" }),
  steps: integer({ required: true, min: 1, help: "optimizer steps", unit: "steps" }),
  quiet: boolean({ default: false, help: "say less" }),
  output: string({ placeholder: "folder", help: "where" }),
  optimizer: choice({ values: ["adafactor", "adamw"], default: "adafactor", help: "which" }),
  seeds: list({ of: "integer", default: [1, 2], help: "seeds" }),
  tasks: list({ values: ["cb", "rte"], help: "tasks" }),
  verbalizer: map({ help: "label words" }),
};

test("the table is the type", () => {
  expectTypeOf<OptionValues<typeof table>>().toEqualTypeOf<{
    readonly learningRate: number;
    readonly steps: number;
    readonly quiet: boolean;
    readonly output: string | undefined;
    readonly optimizer: "adafactor" | "adamw";
    readonly seeds: readonly number[];
    readonly tasks: readonly ("cb" | "rte")[] | undefined;
    readonly verbalizer: Readonly<Record<string, string>> | undefined;
  }>();
});

test("defaults fill what is absent; null counts as absent", () => {
  expect(readOptions(table, { steps: 3, optimizer: "adamw", learningRate: null }, "c.yaml")).toEqual({
    learningRate: 0.3,
    steps: 3,
    quiet: false,
    output: undefined,
    optimizer: "adamw",
    seeds: [1, 2],
    tasks: undefined,
    verbalizer: undefined,
  });
  expect(defaults({ quiet: table.quiet })).toEqual({ quiet: false });
  expect(readOptions(table, { steps: 1, verbalizer: { "0": "no", "1": 7 } }, "c").verbalizer).toEqual({
    "0": "no",
    "1": "7",
  });
});

test("a call of the library says where an option belongs, what is near, or what there is; never a flag", () => {
  optionsOf("openOther()", { elsewhere: number({ help: "another call's" }) });
  const many = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`option${i}`, number({ help: "" })]));
  const told = (given: object, where = "call()") => {
    try {
      readOptions(many, given, where);
    } catch (error) {
      return (error as SoftpromptError).message;
    }
    return "";
  };
  expect(told({ elsewhere: 1 })).toMatch(/hint: elsewhere is an option of openOther\(\)$/);
  expect(told({ optoin3: 1 })).toMatch(/hint: did you mean "option3"\?$/);
  expect(told({ zzzzzzzzzzzz: 1 })).toMatch(/expected: one of option0, option1/);
  for (const key of ["elsewhere", "optoin3", "zzzzzzzzzzzz"]) expect(told({ [key]: 1 })).not.toContain("--help");
  expect(told({ elsewhere: 1 }, "run.yaml")).toContain("--help");
});

test.each([
  [{ steps: 3, learningrate: 1 }, /unknown option "learningrate".*did you mean "learningRate"/s],
  [{ steps: 3, proto: 1 }, /unknown option/],
  [JSON.parse('{"steps":3,"__proto__":{"quiet":true}}'), /unknown option "__proto__"/],
  [{}, /steps is missing.*whole number, at least 1 \(steps\).*--steps/s],
  [{ steps: 0 }, /c\.yaml: steps.*at least 1.*got: 0/s],
  [{ steps: 1.5 }, /whole number/],
  [{ steps: "3" }, /whole number.*"3"/s],
  [{ steps: 1, learningRate: Number.NaN }, /a number, at least 0.*NaN/s],
  [{ steps: 1, quiet: "yes" }, /true or false/],
  [{ steps: 1, output: 5 }, /put it in quotes/],
  [{ steps: 1, output: "" }, /output.*expected: folder.*leave the option out, or name one/s],
  [{ steps: 1, optimizer: "adafctor" }, /one of adafactor, adamw.*did you mean "adafactor"/s],
  [{ steps: 1, seeds: [1, "2"] }, /a list of whole numbers/],
  [{ steps: 1, tasks: ["cbb"] }, /did you mean "cb"/],
  [{ steps: 1, verbalizer: ["x"] }, /names with texts/],
  [[], /not a mapping/],
  ["text", /not a mapping/],
])("refused: %j", (value, message) => {
  const attempt = () => readOptions(table, value, "c.yaml");
  expect(attempt).toThrow(SoftpromptError);
  expect(attempt).toThrow(message);
});

test("values that a program hands in complete: all must be there and in range; other keys are its own", () => {
  const whole = { ...readOptions(table, { steps: 3 }, "c"), mine: 1 };
  expect(() => checkOptions(table, whole, "here")).not.toThrow();
  const refused = (more: object) => () => checkOptions(table, { ...whole, ...more }, "here");
  expect(refused({ steps: 0 })).toThrow(/here: steps.*at least 1.*got: 0/s);
  expect(refused({ steps: Number.NaN })).toThrow(/whole number.*NaN/s);
  expect(refused({ learningRate: undefined })).toThrow(/learningRate is missing.*a number, at least 0.*defaults/s);
  expect(refused({ optimizer: "adam" })).toThrow(/did you mean "adamw"/);
  // readOptions would replace it
  const by = {
    by: choice({ values: ["paper", "total"], formerValues: { honest: "total" }, default: "paper", help: "" }),
  };
  expect(() => checkOptions(by, { by: "honest" as "total" }, "here")).toThrow(/paper, total/);
});

test.each([
  [{ names: ["a,b"] }, "without commas"],
  [{ names: [""] }, "an item that is not empty"],
  [{ words: { "a=b": "c" } }, "names without"],
  [{ words: { "": "c" } }, "names without"],
  [{ text: "a\0b" }, "without NUL"],
])("%j cannot be words of a command line", (values, expected) => {
  const table = { names: list({ help: "" }), words: map({ help: "" }), text: string({ help: "" }) };
  expect(() => flagWords(table, values)).toThrow(expected);
});

test("flags are kebab-case", () => {
  expect(flagName("learningRate")).toBe("--learning-rate");
  expect(flagName("x")).toBe("--x");
});

test.each([
  ["c", ["a", "b"], undefined],
  ["C", ["a", "c"], "c"],
  ["ab", ["ac", "xy"], "ac"],
  ["xy", ["ab"], undefined],
  ["b", ["a", "bb"], "bb"],
  // "aaaa" has fewer differences, but too many for so short a name
  ["aaaabbb", ["aaaa", "aaaacccc"], "aaaacccc"],
  ["neutrl", ["neutral", "positive"], "neutral"],
])("near %s among %j is %s", (name, names, near) => {
  expect(nearest(name, names)).toBe(near);
});

test("the cause of an interruption is the signal's reason, also where an inner error is told again", () => {
  const signal = AbortSignal.abort("SIGTERM");
  const inner = interrupted(signal, "stopped inside", { where: "a" });
  const told = interrupted(signal, "stopped", {
    ...new SoftpromptError("interrupted", "x", { where: "b", cause: inner }).parts,
  });
  expect([inner.cause, told.cause, told.exitCode]).toEqual(["SIGTERM", "SIGTERM", 143]);
});
