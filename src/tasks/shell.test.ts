import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { shellWord } from "../base/shell-word.js";
import { resumeCommand } from "./shell.js";

test.each(["runs/sst2-prompt-tuning-seed0", "/tmp/a,b+c@1", "C:/läufe/1"])("%s needs no quotes", (text) => {
  expect(shellWord(text)).toBe(text);
});

test
  .skipIf(process.platform === "win32")
  .each(["my run; echo hi", 'it\'s $HOME `id` "x" \\', "", "~", "a\nb", "*", "!!"])("a shell reads %j back", (text) => {
  expect(execFileSync("sh", ["-c", `printf %s. ${shellWord(text)}`], { encoding: "utf8" })).toBe(`${text}.`);
});

test("a folder whose name begins with a dash is no option", () => {
  expect(resumeCommand("train", "-a b")).toBe("softprompt train --resume='-a b'");
  expect(resumeCommand("prune", "runs/x")).toBe("softprompt prune --resume runs/x");
});
