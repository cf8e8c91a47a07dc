import { expect, test } from "vitest";
import { SoftpromptError } from "../base/errors.js";
import { boolean, choice, integer, list, map, number, string } from "../base/options.js";
import { parseFlags } from "./flags.js";

const table = {
  learningRate: number({ default: 0.3, min: -1, help: "" }),
  batchSize: integer({ default: 8, min: 1, help: "" }),
  lowMemory: boolean({ default: false, help: "" }),
  stopEarly: boolean({ default: true, help: "" }),
  output: string({ help: "" }),
  optimizer: choice({ values: ["adafactor", "adamw"], default: "adafactor", help: "" }),
  depths: list({ of: "number", help: "" }),
  tasks: list({ help: "" }),
  verbalizer: map({ help: "" }),
  quiet: boolean({ default: false, help: "" }),
};
const parse = (...argv: string[]) => parseFlags(table, argv, "softprompt train");

test.each([
  [["--learning-rate", "1e-3"], { learningRate: 0.001 }],
  [["--learning-rate=.5"], { learningRate: 0.5 }],
  [["--learning-rate", "-0.5"], { learningRate: -0.5 }],
  [["--low-memory", "--no-stop-early"], { lowMemory: true, stopEarly: false }],
  [["--batch-size", "4", "--batch-size", "5"], { batchSize: 5 }],
  [["--depths", "0.25,0.5", "--depths=1"], { depths: [0.25, 0.5, 1] }],
  [["--tasks", "cb,rte"], { tasks: ["cb", "rte"] }],
  [["--tasks="], { tasks: [] }],
  [["--verbalizer", "0=very bad", "--verbalizer", "1=a=b"], { verbalizer: { "0": "very bad", "1": "a=b" } }],
  [["--output", "with blank"], { output: "with blank" }],
  [["-q"], { quiet: true }],
])("%j", (argv, values) => {
  expect(parse(...argv).values).toEqual(values);
});

test("positionals stand anywhere; everything after -- is one", () => {
  expect(parse("a", "--low-memory", "b", "--", "--quiet").positionals).toEqual(["a", "b", "--quiet"]);
});

test.each([
  [["--lerning-rate", "1"], /unknown option --lerning-rate.*did you mean --learning-rate/s],
  [["--learningRate", "1"], /did you mean --learning-rate/],
  [["-x"], /unknown option -x/],
  [["--batch-size"], /--batch-size: this flag needs a value.*whole number, at least 1/s],
  [["--output", "--quiet"], /--output: this flag needs a value.*the flag --quiet/s],
  [["--batch-size", "0"], /--batch-size.*at least 1.*got: 0/s],
  [["--batch-size", "0x10"], /a whole number.*"0x10"/s],
  [["--batch-size", "1e400"], /a whole number/],
  [["--low-memory=yes"], /takes no value.*write --low-memory or --no-low-memory/s],
  [["--optimizer", "adam"], /one of adafactor, adamw.*did you mean "adamw"/s],
  [["--verbalizer", "great"], /name=text/],
  [["--verbalizer", "0=bad", "--verbalizer", "0=good"], /one name has two texts.*0=bad, 0=good/s],
  [["--no-output"], /unknown option --no-output/],
  [["--__proto__", "1"], /unknown option/],
  [["--verbalizer", "__proto__=x", "--constructor"], /unknown option --constructor/],
])("refused: %j", (argv, message) => {
  expect(() => parse(...argv)).toThrow(SoftpromptError);
  expect(() => parse(...argv)).toThrow(message);
});

test.each([
  [["--output", "a", "--output", "b"], ["--output is given 2 times: a is not used, b is"]],
  [["--low-memory", "--no-low-memory"], ["--low-memory is given 2 times: true is not used, false is"]],
  [["--output", "a", "--output=a"], []],
  [["--depths", "1", "--depths", "2", "--verbalizer", "0=a", "--verbalizer", "1=b"], []],
])("a value that a later one replaces is not dropped unsaid: %j", (argv, notices) => {
  const said: string[] = [];
  parseFlags(table, argv, "softprompt train", (message) => said.push(message));
  expect(said).toEqual(notices);
});
