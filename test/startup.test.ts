/**
 * @file What a start of the command line loads, and how it may be started. Needs npm run build.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { commands } from "../src/cli/commands.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const main = join(root, "dist/cli/main.js");
const place = mkdtempSync(join(tmpdir(), "softprompt-startup-"));
afterAll(() => rmSync(place, { recursive: true, force: true }));

/** Modules that a command line loads, as paths in dist or names of packages. */
function loaded(argv: readonly string[]): string[] {
  const log = pathToFileURL(join(root, "test/helpers/log-loads.mjs")).href;
  const { stderr, status } = spawnSync(process.execPath, ["--import", log, main, ...argv], { encoding: "utf8" });
  expect(status, stderr).toBe(0);
  return [...stderr.matchAll(/^load (\S+)/gm)].map(([, url]) =>
    decodeURIComponent(url!)
      .replace(/^.*\/node_modules\//, "package ")
      .replace(/^.*\/dist\//, ""),
  );
}

const packages = (all: readonly string[]) => [
  ...new Set(all.filter((name) => name.startsWith("package ")).map((name) => name.split(/[ /]/)[1])),
];

describe.skipIf(!existsSync(main))("what is loaded", () => {
  test("--version: no command, no task, and no package but the one for colours", () => {
    const all = loaded(["--version"]);
    expect(all).toContain("cli/run.js");
    expect(packages(all)).toEqual(["picocolors"]);
    expect(all.filter((name) => !/^(cli\/[\w-]+\.js$|base\/|package |node:)/.test(name))).toEqual([]);
  });

  test.each(Object.keys(commands))("%s --help: its options, but neither the engine nor the tasks' work", (name) => {
    const all = loaded([name, "--help"]);
    expect(all).toContain(`cli/commands/${name === "compare" ? "study" : name}.js`);
    expect(
      all.filter((path) => /^(cli\/actions|engine|runtime|onnx|hub|study)\//.test(path) && !/options\.js$/.test(path)),
    ).toEqual([]);
    expect(packages(all).filter((path) => /^(onnx|zod|yaml|@bufbuild|@huggingface|hono|@hono)/.test(path!))).toEqual(
      [],
    );
  });

  test("predict: nothing of training, studies, reports, configuration files or hubs", () => {
    const all = loaded(["predict", "Fine.", "--model", "t5-nano", "--task", "quickstart"]);
    expect(all).toContain("engine/engine.js");
    // run/layout.js has the names of a run's files, by which a run that has no adapter yet is known
    expect(
      all.filter((path) =>
        /^(study|run(?!\/layout)|serve)\/|^prune\/(search|xprompt|pool)|^hub\/|^report\/html/.test(path),
      ),
    ).toEqual([]);
    expect(packages(all).filter((path) => /^(yaml|@huggingface)/.test(path!))).toEqual([]);
  });
});

describe.skipIf(!existsSync(main) || process.platform === "win32")("ways to start it", () => {
  const version = (...argv: string[]) => spawnSync(process.execPath, argv, { encoding: "utf8" });
  test.each([
    ["without the ending", () => [main.replace(/\.js$/, "")]],
    [
      "through a link to the repository",
      () => {
        const link = join(place, "repository");
        if (!existsSync(link)) symlinkSync(root, link);
        return [join(link, "dist/cli/main.js")];
      },
    ],
    [
      "through a link that stays one",
      () => {
        const link = join(place, "softprompt");
        if (!existsSync(link)) symlinkSync(main, link);
        return ["--preserve-symlinks-main", link];
      },
    ],
  ] as const)("%s", (_, argv) => {
    expect(version(...argv(), "--version")).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });

  test("from a working directory that is gone: an error of the file system, no bug", () => {
    const gone = join(place, "gone");
    mkdirSync(gone);
    const script = `rmdir ../gone && exec "$0" "$1" show --train rows.csv --template '{text}' --label-column label`;
    const { status, stderr } = spawnSync("sh", ["-c", script, process.execPath, main], { cwd: gone, encoding: "utf8" });
    expect(stderr).toMatch(/the working directory is gone/);
    expect(status).toBe(10);
  });
});
