/** @file Help texts: what stands there can be typed as it stands. */
import picocolors from "picocolors";
import { expect, test } from "vitest";
import { flagName } from "../base/options.js";
import { loadCommands } from "./commands.js";
import { helpText } from "./describe.js";
import { parseFlags } from "./flags.js";

const commands = await loadCommands();
const plain = picocolors.createColors(false);

test.each(Object.entries(commands))(
  "%s --help: every flag in it is one, no option under another name, no line too long",
  (name, command) => {
    const text = helpText(name, command, plain, 80);
    const options = Object.values(command.sections).flatMap((table) => Object.entries(table));
    const table = Object.fromEntries(options);
    for (const [, flag] of text.matchAll(/^ {2}(--[a-z-]+)/gm))
      if (!["--config", "--json", "--quiet", "--help"].includes(flag!))
        expect(() =>
          parseFlags(
            table,
            table[keyOf(flag!)]?.kind === "boolean" || flag!.startsWith("--no-") ? [flag!] : [`${flag}=`],
            name,
          ),
        ).not.toThrow(/unknown option/);
    const camel = options.map(([key]) => key).filter((key) => /[A-Z]/.test(key));
    expect(camel.filter((key) => new RegExp(`\\b${key}\\b`).test(text))).toEqual([]);
    const examples = text.indexOf("\nExamples");
    const body = examples < 0 ? text : text.slice(0, examples);
    expect(body.split("\n").filter((line) => line.length > 80)).toEqual([]);
    function keyOf(flag: string): string {
      return options.find(([key]) => flagName(key) === flag)?.[0] ?? "";
    }
  },
);

test("a flag that turns something off says so", () => {
  const text = helpText("train", commands.train!, plain, 200);
  expect(text).toMatch(/--no-tensorboard +Turns off: Write a TensorBoard event file too/);
});
