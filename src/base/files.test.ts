/** @file Durable writes and folder locks, with every operation and every byte as a place to die. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bundle } from "../../test/helpers/bundle.js";
import { Death, faultyOps } from "../../test/helpers/faults.js";
import { hashFile } from "./digest.js";
import { SoftpromptError } from "./errors.js";
import {
  appendFile,
  listFolder,
  makeFolder,
  ownFolder,
  readWhole,
  renameFile,
  sha256,
  syncFile,
  truncateFile,
  writeFileAtomic,
} from "./files.js";
import { lockFolder, removeLeftovers } from "./lock.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "softprompt-files-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const thrown = (action: () => unknown): unknown => {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
};

describe("writeFileAtomic", () => {
  test("writes, overwrites, makes the folder, leaves nothing else behind", () => {
    const path = join(folder, "a/b/file.txt");
    writeFileAtomic(path, "one");
    writeFileAtomic(path, Buffer.from("two"));
    expect(readFileSync(path, "utf8")).toBe("two");
    expect(readdirSync(join(folder, "a/b"))).toEqual(["file.txt"]);
  });

  test("dying at any operation or byte leaves the old file or the new one, whole", () => {
    const path = join(folder, "file.txt");
    const seen = new Set<string>();
    const plans = [
      ...Array.from({ length: 20 }, (_, dieAtOp) => ({ dieAtOp })),
      ...Array.from({ length: 12 }, (_, dieAtByte) => ({ dieAtByte })),
    ];
    let deaths = 0;
    for (const plan of plans) {
      writeFileAtomic(path, "old content");
      const ops = faultyOps(plan);
      const error = thrown(() => writeFileAtomic(path, "new content", ops));
      if (error instanceof Death) deaths++;
      else expect(error).toBeUndefined();
      const now = readFileSync(path, "utf8");
      expect(["old content", "new content"]).toContain(now);
      seen.add(now);
    }
    expect(seen.size).toBe(2);
    expect(deaths).toBeGreaterThan(15);
    expect(removeLeftovers(folder)).toBeGreaterThan(0);
    expect(readdirSync(folder)).toEqual(["file.txt"]);
  });

  test("a full disk is a typed error, leaves the old file and no temp file", () => {
    const path = join(folder, "file.txt");
    writeFileAtomic(path, "old content");
    const error = thrown(() => writeFileAtomic(path, "new content", faultyOps({ space: 4 })));
    expect(error).toBeInstanceOf(SoftpromptError);
    expect(error).toMatchObject({ kind: "io", exitCode: 10, message: expect.stringMatching(/file\.txt.*no space/) });
    expect(readFileSync(path, "utf8")).toBe("old content");
    expect(readdirSync(folder)).toEqual(["file.txt"]);
  });

  test.each(["EACCES", "EROFS", "EIO", "EDQUOT"])("%s at any operation is a typed error", (code) => {
    const path = join(folder, "file.txt");
    writeFileAtomic(path, "old");
    for (let op = 0; op < 5; op++)
      expect(thrown(() => writeFileAtomic(path, "new", faultyOps({ refuse: { op, code } })))).toMatchObject({
        kind: "io",
      });
  });

  test("a folder where the file should be, and a file where the folder should be", () => {
    expect(thrown(() => writeFileAtomic(folder, "x"))).toMatchObject({ kind: "io" });
    writeFileSync(join(folder, "plain"), "");
    expect(thrown(() => writeFileAtomic(join(folder, "plain/x"), "x"))).toMatchObject({ kind: "io" });
  });
});

describe("makeFolder", () => {
  test("makes all levels, finds them there again, refuses a file in the way", () => {
    const deep = join(folder, "a/b/c");
    makeFolder(deep);
    makeFolder(deep);
    expect(readdirSync(folder)).toEqual(["a"]);
    expect(readdirSync(join(folder, "a/b"))).toEqual(["c"]);
    writeFileSync(join(folder, "plain"), "");
    for (const path of ["plain", "plain/x"])
      expect(thrown(() => makeFolder(join(folder, path)))).toMatchObject({ kind: "io" });
    expect(
      thrown(() => makeFolder(join(folder, "no"), faultyOps({ refuse: { op: 0, code: "EACCES" } }))),
    ).toMatchObject({
      problem: "permission denied",
    });
  });

  // Node's recursive mkdir tries for ever there
  test.skipIf(process.platform !== "linux")("a place that takes no folders is a typed error", () => {
    for (const path of ["/proc/softprompt", "/proc/softprompt/a/b"])
      expect(thrown(() => writeFileAtomic(join(path, "file"), "x"))).toMatchObject({ kind: "io", exitCode: 10 });
    expect(thrown(() => lockFolder("/proc/softprompt"))).toMatchObject({ kind: "io" });
  });
});

test("the digest of a file that is gone is a typed error", async () => {
  const path = join(folder, "gone.safetensors");
  await expect(hashFile(path)).rejects.toMatchObject({ kind: "io", problem: "no such file or folder" });
  await expect(hashFile(join(folder, "..", "\0"))).rejects.toMatchObject({ kind: "io" });
});

test("append, cut, rename, hash", () => {
  const path = join(folder, "log");
  appendFile(path, "one\n");
  appendFile(path, "two\n", undefined, true);
  truncateFile(path, 4);
  renameFile(path, join(folder, "log2"));
  expect(listFolder(folder)).toEqual(["log2"]);
  expect(sha256("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  expect(() => syncFile(path)).not.toThrow();
  expect(listFolder(join(folder, "none"))).toEqual([]);
  expect(thrown(() => appendFile(join(folder, "log2"), "12345", faultyOps({ space: 2 })))).toMatchObject({
    kind: "io",
  });
  expect(readFileSync(join(folder, "log2"), "utf8")).toBe("one\n12");
});

describe("untrusted folders", () => {
  test("a file is read whole; absent is null; folders, pipes, devices and giants are refused at once", () => {
    writeFileSync(join(folder, "file"), "text");
    expect(readWhole(join(folder, "file"), "run")?.toString()).toBe("text");
    symlinkSync("file", join(folder, "link"));
    expect(readWhole(join(folder, "link"), "run")?.toString()).toBe("text");
    expect(readWhole(join(folder, "none"), "run")).toBeNull();
    const refused = (name: string, problem: RegExp) =>
      expect(thrown(() => readWhole(join(folder, name), "adapter"))).toMatchObject({
        kind: "adapter",
        problem: expect.stringMatching(problem),
      });
    mkdirSync(join(folder, "folder"));
    refused("folder", /not a regular file/);
    writeFileSync(join(folder, "giant"), "");
    truncateSync(join(folder, "giant"), 2 ** 40);
    refused("giant", /too large/);
    symlinkSync("loop", join(folder, "loop"));
    expect(thrown(() => readWhole(join(folder, "loop"), "adapter"))).toMatchObject({ kind: "io" });
    if (process.platform === "win32") return;
    symlinkSync("/dev/zero", join(folder, "zero"));
    refused("zero", /not a regular file/);
    expect(spawnSync("mkfifo", [join(folder, "pipe")]).status).toBe(0);
    refused("pipe", /not a regular file/); // without waiting for a writer
  });

  test("a folder to write into is made of no links, but the root may be one", () => {
    mkdirSync(join(folder, "root", "a"), { recursive: true });
    mkdirSync(join(folder, "elsewhere"));
    symlinkSync("root", join(folder, "named"));
    expect(ownFolder(join(folder, "named"), "a", "b")).toBe(join(folder, "named", "a", "b"));
    symlinkSync(join(folder, "elsewhere"), join(folder, "root", "a", "b"));
    for (const names of [
      ["a", "b"],
      ["a", "b", "c"],
    ])
      expect(thrown(() => ownFolder(join(folder, "named"), ...names))).toMatchObject({
        kind: "run",
        problem: expect.stringContaining("link"),
      });
  });
});

describe("lockFolder", () => {
  let child: ChildProcess | undefined;
  afterEach(() => child?.kill("SIGKILL"));

  test("one owner at a time, in this process too; released, it is free", () => {
    const lock = lockFolder(folder);
    expect(thrown(() => lockFolder(folder))).toMatchObject({
      kind: "run",
      exitCode: 6,
      message: expect.stringMatching(`this process is already working(.|\n)*process ${process.pid} on .*, this one`),
    });
    expect(readdirSync(folder).length).toBe(1);
    lock.release();
    lock.release();
    expect(readdirSync(folder)).toEqual([]);
    lockFolder(folder).release();
  });

  const lockOf = (pid: number, parts: object) =>
    writeFileSync(join(folder, `.lock-${pid}-00000000.json`), JSON.stringify({ pid, host: hostname(), ...parts }));

  test("a living process's lock is respected, a dead one's taken over", async () => {
    child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
    await once(child, "spawn");
    lockOf(child.pid!, {});
    expect(thrown(() => lockFolder(folder))).toMatchObject({ kind: "run" });
    child.kill("SIGKILL");
    await once(child, "exit");
    lockFolder(folder).release();
    expect(readdirSync(folder)).toEqual([]);
  });

  test.skipIf(!existsSync("/proc/self/stat"))(
    "another process with a reused id, or of another boot, holds nothing",
    () => {
      lockOf(process.pid, { started: "1" });
      lockFolder(folder).release();
      lockOf(process.pid, { boot: "another boot" });
      lockFolder(folder).release();
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  test("a lock from another host is respected and told how to remove; a garbled one is not", () => {
    lockOf(1, { host: "elsewhere" });
    expect(thrown(() => lockFolder(folder))).toMatchObject({ kind: "run", message: expect.stringContaining("remove") });
    writeFileSync(join(folder, ".lock-1-00000000.json"), "{");
    lockFolder(folder).release();
  });

  test("a lock that cannot be read is respected, and ours withdrawn", () => {
    mkdirSync(join(folder, ".lock-1-00000000.json"));
    expect(thrown(() => lockFolder(folder))).toMatchObject({
      kind: "run",
      problem: expect.stringContaining("cannot be read"),
    });
    expect(readdirSync(folder)).toEqual([".lock-1-00000000.json"]);
  });

  test("the lock that a living process is just writing is no leftover; a dead one's is", async () => {
    child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
    await once(child, "spawn");
    const writing = `..lock-${child.pid}-00000000.json.${child.pid}-00000000.tmp`;
    writeFileSync(join(folder, writing), "");
    expect(removeLeftovers(folder)).toBe(0);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(removeLeftovers(folder)).toBe(1);
  });

  test("of eight processes that start together at most one gets it, and later ones can", async () => {
    const program = await bundle("test/helpers/lock-worker.ts");
    const workers = Array.from({ length: 8 }, () => {
      const worker = spawn(process.execPath, [program, folder], { stdio: ["pipe", "pipe", "inherit"] });
      return { worker, lines: createInterface(worker.stdout)[Symbol.asyncIterator]() };
    });
    for (const { lines } of workers) expect((await lines.next()).value).toBe("ready");
    for (const { worker } of workers) worker.stdin.write("go");
    const answers = await Promise.all(workers.map(async ({ lines }) => (await lines.next()).value as string));
    expect(answers.filter((a) => a === "got").length).toBeLessThanOrEqual(1);
    expect(answers.every((a) => a === "got" || a === "run")).toBe(true);
    await Promise.all(
      workers.map(async ({ worker }) => {
        const exit = once(worker, "exit");
        worker.stdin.end();
        await exit;
      }),
    );
    lockFolder(folder).release();
    expect(readdirSync(folder)).toEqual([]);
    rmSync(dirname(program), { recursive: true });
  });
});
