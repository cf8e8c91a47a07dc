import { afterEach, describe, expect, test } from "vitest";
import { Jobs } from "./jobs.js";
import type { JobState } from "./protocol.js";

/** A program that does what its last argument before --json says. */
const script = `
const [what] = process.argv.slice(-2);
const tell = (value, code) => { console.log(JSON.stringify(value)); process.exitCode = code; };
console.error("started " + what);
if (what === "good") tell({ well: true }, 0);
if (what === "bad") tell({ error: { kind: "data", problem: "no rows", where: "x.jsonl", hint: "give some" } }, 3);
if (what === "bug") { process.stdout.write("oh"); process.exitCode = 70; }
if (what === "long") { process.on("SIGINT", () => { console.error("signal"); setTimeout(() => { tell({ interrupted: true }, 130); clearInterval(timer); }, 200).unref(); }); const timer = setInterval(() => {}, 1000); }
if (what === "deaf") { process.on("SIGINT", () => {}); setTimeout(() => tell({}, 0), 700); }
if (what === "many") { for (let i = 0; i < 5000; i++) console.error("line " + i); console.error("x".repeat(10000)); process.stderr.write("end"); tell({}, 0); }
`;
const program = { file: process.execPath, args: ["-e", script, "--"], cwd: process.cwd() };
const order = (what: string, path: string | null = null) => ({
  ...{ command: "train", options: { what }, words: [what], line: what, path },
});
let jobs: Jobs;
afterEach(() => jobs.close());
const open = (atOnce = 1) => {
  jobs = new Jobs(program, atOnce);
  return jobs;
};
const ended = async (id: string): Promise<JobState> => {
  await expect.poll(() => jobs.find(id)!.ended, { timeout: 20_000 }).not.toBeNull();
  return jobs.find(id)!;
};

describe("how a command ends", () => {
  test.each([
    ["good", "done", null],
    ["bad", "failed", { kind: "data", problem: "no rows", where: "x.jsonl", hint: "give some" }],
    ["bug", "failed", { kind: "bug", problem: "it ended with exit code 70" }],
  ])("%s", async (what, status, error) => {
    const { id } = open().add(order(what));
    expect(await ended(id)).toMatchObject({ status, error, pid: null, lines: [`started ${what}`] });
  });

  test("a program that cannot be started", async () => {
    jobs = new Jobs({ file: "/nowhere/at/all", args: [], cwd: process.cwd() }, 1);
    const { id } = jobs.add(order("good"));
    expect(await ended(id)).toMatchObject({ status: "failed", error: { kind: "io" } });
    // the next one has its turn
    expect((await ended(jobs.add(order("good")).id)).status).toBe("failed");
  });

  test("a command that the system refuses at once fails, also where it has waited, and the next one has its turn", async () => {
    const all = open();
    const [, refused, last] = ["good", "a\0b", "good"].map((what) => all.add(order(what)).id);
    expect(await ended(refused!)).toMatchObject({
      ...{ status: "failed", started: null },
      error: { kind: "io", problem: "the process could not be started", got: expect.stringContaining("null bytes") },
    });
    expect((await ended(last!)).status).toBe("done");
    expect(all.add(order("a\0b")).status).toBe("failed");
  });

  test("the latest lines are kept, long ones cut", async () => {
    const { id } = open().add(order("many"));
    const { lines, linesBefore } = await ended(id);
    // "started many", 5000 lines, a long one, and the end without its break
    expect(linesBefore + lines.length).toBe(5003);
    expect(lines.length).toBeLessThanOrEqual(201);
    expect(lines.at(-1)).toBe("end");
    expect(lines.at(-2)).toHaveLength(2000);
    expect(lines.at(-3)).toBe("line 4999");
  });
});

test("so many at a time, the others wait; one that waits is taken out; one that runs is asked to stop once", async () => {
  const all = open();
  const [first, second, third] = ["long", "long", "good"].map((what) => all.add(order(what, what)));
  expect(all.list.map(({ status }) => status)).toEqual(["running", "waiting", "waiting"]);
  expect(all.at("long")!.id).toBe(first!.id);
  expect(all.stop(second!.id)).toBe(true);
  expect(all.find(second!.id)).toMatchObject({ status: "stopped", started: null });
  await expect.poll(() => all.find(first!.id)!.lines).toEqual(["started long"]);
  expect(all.stop(first!.id)).toBe(true);
  expect(all.find(first!.id)!.status).toBe("stopping");
  expect(all.stop(first!.id)).toBe(true);
  const lines = ["started long", "signal"];
  expect(await ended(first!.id)).toMatchObject({ status: "stopped", error: null, lines });
  expect((await ended(third!.id)).status).toBe("done");
  expect(all.stop(first!.id)).toBe(false);
  expect(all.at("long")).toBeUndefined();
  expect(all.forget(first!.id)).toBe(true);
  expect(all.forget(first!.id)).toBe(false);
  expect(all.find(first!.id)).toBeUndefined();
});

test("an id of another studio names no command of this one", () => {
  const before = open().add(order("good")).id;
  jobs.stop(before);
  const other = new Jobs(program, 1);
  other.add(order("\0"));
  expect(other.find(before)).toBeUndefined();
});

test("a command that is stopped before it listens is stopped, not failed", async () => {
  const { id } = open().add(order("long"));
  jobs.stop(id);
  expect(await ended(id)).toMatchObject({ status: "stopped", error: null });
});

test("closing stops every command, waits for those that take long, and starts none", async () => {
  const all = open(2);
  const ids = ["long", "deaf", "good"].map((what) => all.add(order(what)).id);
  await expect.poll(() => all.list.filter(({ lines }) => lines.length > 0).length).toBe(2);
  await all.close();
  expect(ids.map((id) => all.find(id)!.status)).toEqual(["stopped", "done", "stopped"]);
  expect(all.find(ids[2]!)!.started).toBeNull();
});
