/**
 * @file The studio as its page and as a hostile page meet it: access, runs while they train, commands that it starts and stops, answers.
 * Needs npm run build.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { flagWords, type OptionTable } from "../src/base/options.js";
import { prune } from "../src/cli/commands/prune.js";
import { show } from "../src/cli/commands/show.js";
import { compare } from "../src/cli/commands/study.js";
import { sweep } from "../src/cli/commands/sweep.js";
import { train } from "../src/cli/commands/train.js";
import { parseFlags } from "../src/cli/flags.js";
import { startedCommands } from "../src/studio/commands.js";
import type { Answers, Form, JobState, Preview, RunDetails, StudioState } from "../src/studio/protocol.js";
import { openStudio, type Studio, type StudioInput } from "../src/studio/studio.js";
import { openModel } from "../src/tasks/model.js";
import { predict } from "../src/tasks/predict.js";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const main = join(root, "dist/cli/main.js");
const built = existsSync(main) && process.platform !== "win32";
const place = mkdtempSync(join(tmpdir(), "softprompt-studio-"));
const folder = join(place, "runs");
afterAll(() => rmSync(place, { recursive: true, force: true }));

const opened: Studio[] = [];
afterAll(async () => {
  for (const studio of opened) await studio.close();
});
async function open(more: Partial<StudioInput> = {}): Promise<Studio> {
  const studio = await openStudio({
    ...{ folder, port: 0, commands: { train, prune, sweep, compare, show } },
    program: { file: process.execPath, args: [main], cwd: place },
    answersModule: join(root, "dist/studio/answers-child.js"),
    ...more,
  });
  opened.push(studio);
  return studio;
}

/** Asks with the token, as a program of the user's would. */
async function ask<T>(studio: Studio, path: string, body?: unknown): Promise<T> {
  const response = await fetch(`${studio.url}${path}`, {
    headers: {
      authorization: `Bearer ${studio.token}`,
      ...(body !== undefined && { "content-type": "application/json" }),
    },
    ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
  });
  const value = (await response.json()) as { error: { param: string | null; message: string } };
  if (!response.ok) throw new Error(`${response.status} ${value.error.param ?? ""} ${value.error.message}`);
  return value as T;
}
const state = (studio: Studio) => ask<StudioState>(studio, "/api/state");
const details = (studio: Studio, path: string, after = 0, generation = "") =>
  ask<RunDetails>(studio, `/api/run?${new URLSearchParams({ path, after: String(after), generation })}`);

const rows = [..."abcdefghijklmnopqrstuvwx"].map((letter, i) => ({
  ...{ text: i % 2 === 0 ? `a wonderful ${letter}` : `a dull ${letter}`, label: i % 2 === 0 ? "good" : "bad" },
}));
const data = {
  ...{ train: "rows.jsonl", validation: "rows.jsonl", template: "{text}", labelColumn: "label", task: "letters" },
};
const quick = { ...data, model: "t5-nano", threads: 1, batchSize: 4, virtualTokens: 4 };
beforeAll(() => {
  mkdirSync(folder);
  writeFileSync(join(place, "rows.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
});

describe("access", () => {
  test("the address sets a cookie, which the page and its requests need", async () => {
    const studio = await open();
    expect((await fetch(studio.url)).status).toBe(401);
    expect((await fetch(`${studio.url}/api/state`)).status).toBe(401);
    expect((await fetch(`${studio.url}/?token=wrong`)).status).toBe(401);
    const entered = await fetch(studio.address);
    expect(entered.status).toBe(200);
    expect(await entered.text()).toContain('<script type="module" src="/page.js">');
    const cookie = entered.headers.get("set-cookie")!;
    expect(cookie).toMatch(/^softprompt-studio-\d+=[\w-]{43}; Path=\/; HttpOnly; SameSite=Strict$/);
    const headers = { cookie: cookie.split(";")[0]! };
    const page = await fetch(studio.url, { headers });
    expect(page.status).toBe(200);
    expect(await page.text()).toContain('<script type="module" src="/page.js">');
    expect(page.headers.get("content-security-policy")).toMatch(/^default-src 'none'; script-src 'self';/);
    for (const path of ["/page.js", "/style.css", "/api/state", "/api/forms"])
      expect([path, (await fetch(`${studio.url}${path}`, { headers })).status]).toEqual([path, 200]);
    expect((await fetch(`${studio.url}/nothing`, { headers })).status).toBe(404);
  });

  test("other sites' pages are refused, by their origin, their host name, and what they can send", async () => {
    const studio = await open();
    const authorization = `Bearer ${studio.token}`;
    const status = (path: string, init: RequestInit) =>
      fetch(`${studio.url}${path}`, init).then((response) => response.status);
    expect(await status("/api/state", { headers: { authorization, origin: "https://example.com" } })).toBe(403);
    expect(await status("/api/state", { headers: { authorization, origin: studio.url } })).toBe(200);
    // an image of a page on another port has the cookie and no origin
    const image = { authorization, "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors" };
    expect(await status("/api/words?path=x", { headers: image })).toBe(403);
    expect(await status("/", { headers: image })).toBe(200);
    const own = { ...image, "sec-fetch-site": "same-origin" };
    expect(await status("/api/state", { headers: own })).toBe(200);
    const simple = { authorization, "content-type": "text/plain" };
    expect(await status("/api/answers/close", { method: "POST", headers: simple, body: "{}" })).toBe(415);
    // a name that resolves to this machine
    const rebound = await new Promise<number>((done) => {
      const { port } = new URL(studio.url);
      request(
        { host: "127.0.0.1", port, path: "/api/state", headers: { host: "evil.example", authorization } },
        (answer) => {
          answer.resume();
          done(answer.statusCode!);
        },
      ).end();
    });
    expect(rebound).toBe(403);
  });

  test("a refused page is told what to open, and no option that the studio does not have", async () => {
    const studio = await open();
    const headers = { authorization: `Bearer ${studio.token}`, origin: "http://127.0.0.1:1" };
    const refused = await (await fetch(`${studio.url}/api/state`, { headers })).text();
    expect(refused).toContain(`open ${studio.url}`);
    expect(refused).not.toContain("--");
  });

  test("a path that cannot be decoded is not found", async () => {
    await expect(ask(await open(), "/files/a%E0%A4/report.html")).rejects.toThrow("404");
  });

  test("a signal that comes while the port is opened ends the studio", async () => {
    const stop = new AbortController();
    const opening = open({ signal: stop.signal });
    stop.abort("SIGINT");
    await expect(opening).rejects.toThrow("stopped before the studio was open");
  });

  test("a taken port is said", async () => {
    const other = createServer();
    await new Promise<void>((done) => other.listen(0, "127.0.0.1", done));
    const { port } = other.address() as AddressInfo;
    await expect(open({ port })).rejects.toThrow(/the port is taken/);
    other.close();
  });
});

describe("forms", () => {
  test("are the commands' own options, the essential ones among them", async () => {
    const forms = await ask<Form[]>(await open(), "/api/forms");
    expect(forms.map(({ command }) => command)).toEqual(Object.keys(startedCommands));
    for (const { command, sections, essentials } of forms) {
      const all = sections.flatMap(({ options }) => options);
      const own = Object.values({ train, prune, sweep, compare }[command as "train"].sections).flatMap((table) =>
        Object.keys(table as object),
      );
      expect(all.map(({ key }) => key)).toEqual(own);
      for (const key of essentials) expect(own, `${command} ${key}`).toContain(key);
      for (const { key, flag } of all) expect([key, flag.startsWith("--")]).toEqual([key, true]);
    }
  });

  test("flagWords writes what parseFlags reads, for every option of every command", () => {
    for (const { sections } of [train, prune, sweep, compare, show]) {
      const table: OptionTable = Object.assign({}, ...Object.values(sections));
      const values = Object.fromEntries(
        Object.entries(table).map(([key, option]) => [
          key,
          {
            number: () => (option as { min?: number }).min ?? -0.5,
            integer: () => (option as { min?: number }).min ?? 3,
            boolean: () => !option.default,
            string: () => "-- it's a {text}\n",
            choice: () => (option as unknown as { values: string[] }).values.at(-1),
            list: () => {
              const {
                of,
                values,
                whole,
                min = 1,
              } = option as { of: string; values?: string[]; whole?: boolean; min?: number };
              return of !== "string" ? [min] : (values?.slice(0, 2) ?? (whole ? ["a,b", "-c"] : ["a", "b c"]));
            },
            map: () => ({ "0": "so so", "-1": "a=b" }),
          }[option.kind](),
        ]),
      );
      expect(parseFlags(table, flagWords(table, values), "softprompt").values).toEqual(values);
    }
  });
});

describe.skipIf(process.platform === "win32")("stopping", () => {
  /** Says how often it was asked to stop, and ends long after the first time. */
  const script = `
    let asked = 0;
    process.on("SIGINT", () => { console.error("signal " + ++asked); if (asked === 1) setTimeout(() => process.exit(130), 700); });
    console.error("ready");
    setTimeout(() => {}, 20000);`;
  const program = { file: process.execPath, args: ["-e", script, "--"], cwd: place };
  /** A search that a process works in. */
  const worked = (name: string, pid: number) => {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "search.json"), "{}");
    writeFileSync(join(folder, name, ".lock-1-00000000.json"), JSON.stringify({ pid, host: hostname() }));
  };
  const started = (studio: Studio, options: object) =>
    ask<JobState>(studio, "/api/jobs", { command: "train", options });
  const lines = async (studio: Studio) => (await state(studio)).jobs[0]?.lines;

  test("a process of another terminal is asked once", async () => {
    const studio = await open();
    const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "ignore", "pipe"] });
    let told = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      told += text;
    });
    const exit = once(child, "close");
    await expect.poll(() => told).toBe("ready\n");
    worked("elsewhere", child.pid!);
    await ask(studio, "/api/stop", { path: "elsewhere" });
    await expect.poll(() => told).toContain("signal 1");
    await ask(studio, "/api/stop", { path: "elsewhere" });
    expect((await exit)[0]).toBe(130);
    expect(told).toBe("ready\nsignal 1\n");
  });

  test("one of the studio's own is asked once, though its folder was given by a link", async () => {
    const studio = await open({ program });
    mkdirSync(join(folder, "real"));
    symlinkSync(join(folder, "real"), join(folder, "link"));
    const { id, pid } = await started(studio, { model: "t5-nano", task: "x", output: "runs/link/own" });
    await expect.poll(() => lines(studio)).toEqual(["ready"]);
    worked("real/own", pid!);
    await ask(studio, "/api/stop", { path: "real/own" });
    expect((await state(studio)).jobs[0]).toMatchObject({ id, status: "stopping" });
    await expect.poll(() => lines(studio)).toEqual(["ready", "signal 1"]);
    await ask(studio, `/api/jobs/${id}/stop`, {});
    await expect.poll(async () => (await state(studio)).jobs[0]?.status).toBe("stopped");
    expect(await lines(studio)).toEqual(["ready", "signal 1"]);
  });

  test("a process that has just ended is said", async () => {
    const studio = await open();
    const child = spawn(process.execPath, ["-e", script], { stdio: "ignore" });
    worked("ending", child.pid!);
    const gone = Object.assign(new Error("kill ESRCH"), { code: "ESRCH" });
    const { kill } = process;
    const spy = vi.spyOn(process, "kill").mockImplementation((pid, signal) => {
      if (signal === "SIGINT") throw gone;
      return kill.call(process, pid, signal);
    });
    await expect(ask(studio, "/api/stop", { path: "ending" })).rejects.toThrow("409");
    spy.mockRestore();
    child.kill("SIGKILL");
  });

  test("a studio that closes starts nothing any more", async () => {
    const studio = await open({ program });
    await started(studio, { model: "t5-nano", task: "x" });
    await expect.poll(() => lines(studio)).toEqual(["ready"]);
    const closing = studio.close();
    const refused = /503.*closing/;
    await expect(started(studio, { model: "t5-nano", task: "x" })).rejects.toThrow(refused);
    await expect(ask(studio, "/api/answers", { paths: ["x"], input: {}, frozen: false })).rejects.toThrow(refused);
    await closing;
    expect(studio.busy).toBe(0);
  });
});

describe.skipIf(!built)("commands", { timeout: 240_000 }, () => {
  const ended = async (studio: Studio, id: string): Promise<JobState> => {
    const job = async () => (await state(studio)).jobs.find((one) => one.id === id)!;
    await expect.poll(async () => (await job()).ended, { timeout: 120_000, interval: 200 }).not.toBeNull();
    return job();
  };

  test("a training is started, seen while it trains, stopped, gone on with, and its prompt answers", async () => {
    const studio = await open();
    const start = (options: object) => ask<JobState>(studio, "/api/jobs", { command: "train", options });
    const job = await start({ ...quick, steps: 400, evalEvery: 5, baselines: false });
    const path = "letters-prompt-seed0";
    expect(job).toMatchObject({ command: "train", path, status: "running" });
    expect(job.line).toContain("softprompt train --model t5-nano");
    await expect(start({ resume: "nowhere" })).rejects.toThrow("404");

    // while it trains, what is new alone is sent
    await expect
      .poll(async () => (await details(studio, path).catch(() => null))?.events.length ?? 0, { timeout: 120_000 })
      .toBeGreaterThan(5);
    const first = await details(studio, path);
    expect(first.run).toMatchObject({ path, state: "running", plannedSteps: 400 });
    await expect.poll(async () => (await details(studio, path)).events.length).toBeGreaterThan(first.events.length);
    const more = await details(studio, path, first.events.length, first.generation);
    expect(more).toMatchObject({ after: first.events.length, generation: first.generation });
    const whole = await details(studio, path);
    expect(whole.events.slice(0, first.events.length + more.events.length)).toEqual([...first.events, ...more.events]);

    // a second command cannot write there
    const resume = { resume: path };
    await expect(start(resume)).rejects.toThrow("409");
    await ask(studio, "/api/stop", { path });
    expect(await ended(studio, job.id)).toMatchObject({ status: "stopped", error: null });
    const stopped = await details(studio, path);
    expect(stopped.run.state).toBe("stopped");
    expect(stopped.run.steps).toBeLessThan(400);

    const further = await start(resume);
    expect(further.path).toBe(path);
    await expect
      .poll(async () => (await details(studio, path)).events.length, { timeout: 60_000 })
      .toBeGreaterThan(stopped.events.length);
    await ask(studio, `/api/jobs/${further.id}/stop`, {});
    expect((await ended(studio, further.id)).status).toBe("stopped");

    // what it answers is what the library answers
    const input = { text: "a wonderful song" };
    const { answers } = await ask<Answers>(studio, "/api/answers", { paths: [path], input, frozen: true });
    await using model = await openModel("t5-nano", { threads: 1 });
    const adapter = join(folder, path);
    const { task } = JSON.parse(readFileSync(join(adapter, "adapter/softprompt.json"), "utf8"));
    const [tuned] = await predict(model, adapter, [input]);
    const [frozen] = await predict(model, null, [input], { task });
    expect(answers.map(({ frozen }) => frozen)).toEqual([false, true]);
    for (const [i, one] of [tuned!, frozen!].entries()) {
      expect(answers[i]).toMatchObject({ path, label: one.label, text: one.text, error: null });
      for (const [label, p] of Object.entries(one.probabilities!))
        expect(answers[i]!.probabilities![label]).toBeCloseTo(p, 5);
    }
    // a run whose name is that of the frozen model of another
    cpSync(adapter, join(folder, `frozen ${path}`), { recursive: true });
    const { answers: both } = await ask<Answers>(studio, "/api/answers", {
      ...{ paths: [path, `frozen ${path}`], input, frozen: true },
    });
    expect(both.map(({ probabilities }) => probabilities)).toEqual([0, 1, 0, 1].map((i) => answers[i]!.probabilities));
    rmSync(join(folder, `frozen ${path}`), { recursive: true });
    await ask(studio, "/api/answers/close", {});
    await expect(ask(studio, "/api/answers", { paths: ["x"], input, frozen: true })).rejects.toThrow("404");
  });

  test("an error of a command is told with what to do", async () => {
    const studio = await open();
    const { id } = await ask<JobState>(studio, "/api/jobs", {
      command: "train",
      options: { ...quick, train: "none.jsonl" },
    });
    const job = await ended(studio, id);
    expect(job).toMatchObject({
      status: "failed",
      error: { problem: expect.any(String), where: expect.stringMatching(/none.jsonl$/) },
    });
    await ask(studio, `/api/jobs/${id}/forget`, {});
    expect((await state(studio)).jobs).toEqual([]);
  });

  test.each([
    [{ steps: "many" }, "options.steps"],
    [{ steps: 0 }, "options.steps"],
    [{ unknown: 1 }, "options"],
    [{ schedule: "fpt" }, "options.schedule"],
    [{ output: "" }, "options.output"],
    [{ template: "a\0b" }, "options.template"],
    [{ verbalizer: { "a=b": "c" } }, "options.verbalizer"],
  ])("%j is refused before anything starts", async (wrong, param) => {
    const studio = await open();
    await expect(ask(studio, "/api/jobs", { command: "train", options: { ...quick, ...wrong } })).rejects.toThrow(
      `400 ${param}`,
    );
    expect((await state(studio)).jobs).toEqual([]);
  });

  test("a sweep is started from its form, and its trainings are listed", async () => {
    const studio = await open();
    const options = { ...quick, steps: 2, try: { "learning-rate": "0.1,0.3" }, seeds: [0], searchHoldout: 0.5 };
    const job = await ask<JobState>(studio, "/api/jobs", { command: "sweep", options });
    expect(job).toMatchObject({ path: "letters-sweep" });
    expect(job.line).toContain("--try learning-rate=0.1,0.3");
    expect(await ended(studio, job.id)).toMatchObject({ status: "done" });
    // the list of runs may be a little older than the end of the command
    const own = async () => (await state(studio)).runs.filter(({ path }) => path.startsWith("letters-sweep/"));
    await expect
      .poll(async () => (await own()).map(({ kind, state }) => [kind, state]), { timeout: 10_000 })
      .toEqual([
        ["study run", "done"],
        ["study run", "done"],
      ]);
  });

  test.each([
    [{}, "options.try"],
    [{ try: { "learning-rate": "x" } }, "options.try"],
    [{ try: { learningrate: "0.1" } }, "options.try"],
    [{ try: { "batch-size": "2" } }, "options.batchSize"],
  ])("a sweep over %j is refused before it starts", async (wrong, param) => {
    const studio = await open();
    const options = { ...quick, ...wrong };
    await expect(ask(studio, "/api/jobs", { command: "sweep", options })).rejects.toThrow(`400 ${param}`);
    expect((await state(studio)).jobs).toEqual([]);
  });

  test("rows are shown as the model will read them", async () => {
    const studio = await open();
    const preview = await ask<{ splits: object[] }>(studio, "/api/preview", { options: quick });
    expect(preview.splits[0]).toMatchObject({ split: "train", rows: 24, labels: { good: 12, bad: 12 } });
    const short = await ask<Preview>(studio, "/api/preview", { options: { ...quick, maxInputTokens: 2 } });
    expect(short.splits[0]!.tokens!.cut).toBe(24);
    const [row] = short.splits[0]!.examples;
    expect(row!.tokensCut).toBeGreaterThan(0);
    expect(row!.read!.length).toBeLessThan(row!.input.length);
    await expect(ask(studio, "/api/preview", { options: { ...quick, train: "none.jsonl" } })).rejects.toThrow("422");
  });

  test("a search, its curves and its page; files are sent by name, and reports may run nothing", async () => {
    const studio = await open();
    const options = {
      ...quick,
      steps: 4,
      evalEvery: 2,
      tokensPruned: [1],
      piecesPruned: [1],
      pieces: 4,
      retrainSteps: 2,
      output: "runs/search",
    };
    const { id } = await ask<JobState>(studio, "/api/jobs", { command: "prune", options });
    expect((await ended(studio, id)).error).toBeNull();
    const found = await details(studio, "search");
    expect(found).toMatchObject({
      run: { kind: "search", state: "done" },
      report: "search",
      task: { name: "letters" },
    });
    expect(found.events.filter(({ kind }) => kind === "step")).toHaveLength(4);
    const file = (path: string) =>
      fetch(`${studio.url}/files/${path}`, { headers: { authorization: `Bearer ${studio.token}` } });
    const report = await file("search/report.html");
    expect(report.headers.get("content-security-policy")).toMatch(/^sandbox; default-src 'none'/);
    expect(await report.text()).toContain("<!doctype html>");
    symlinkSync(join(place, "rows.jsonl"), join(folder, "search/predictions.jsonl.link"));
    writeFileSync(join(place, "report.html"), "secret");
    symlinkSync(join(place, "report.html"), join(folder, "search/result.md"));
    for (const [path, status] of [
      ["search/adapter/adapter_model.safetensors", 404],
      ["search/predictions.jsonl.link", 404],
      ["search/none/report.html", 404],
      ["..%2Freport.html", 400],
      ["search/result.md", 400],
    ] as const)
      expect([path, (await file(path)).status]).toEqual([path, status]);
    const words = await ask<{ tokens: object[] }>(studio, "/api/words?path=search");
    expect(words.tokens).toHaveLength(4);
    const rows = await ask<{ total: number }>(studio, "/api/predictions?path=search&wrong=false");
    expect(rows.total).toBe(24);
  });

  test("a studio that only reads starts and stops nothing", async () => {
    const studio = await open({ readOnly: true });
    const refused = /403.*--read-only/;
    await expect(ask(studio, "/api/jobs", { command: "train", options: quick })).rejects.toThrow(refused);
    await expect(ask(studio, "/api/stop", { path: "search" })).rejects.toThrow(refused);
    await expect(ask(studio, "/api/jobs/1/stop", {})).rejects.toThrow(refused);
    expect((await state(studio)).readOnly).toBe(true);
  });

  test("a run that another process works in is stopped by its signal; one that ended is not", async () => {
    const studio = await open();
    const flags = flagWords(Object.assign({}, ...Object.values(train.sections)), {
      ...quick,
      steps: 5000,
      evalEvery: 5000,
      baselines: false,
      output: "runs/other",
    });
    const child = spawn(process.execPath, [main, "train", ...flags], { cwd: place, stdio: "ignore" });
    const exit = once(child, "exit");
    await expect
      .poll(async () => (await state(studio)).runs.find(({ path }) => path === "other")?.state, { timeout: 60_000 })
      .toBe("running");
    await expect
      .poll(async () => (await details(studio, "other")).events.length, { timeout: 60_000 })
      .toBeGreaterThan(2);
    await ask(studio, "/api/stop", { path: "other" });
    expect((await exit)[0]).toBe(130);
    expect((await details(studio, "other")).run.state).toBe("stopped");
    await expect(ask(studio, "/api/stop", { path: "other" })).rejects.toThrow("409");
  });

  test("what is no folder is refused", async () => {
    const child = spawn(process.execPath, [main, "studio", "rows.jsonl", "--port", "0"], {
      cwd: place,
      stdio: "ignore",
    });
    const exit = once(child, "exit");
    setTimeout(() => child.kill(), 10_000).unref();
    expect((await exit)[0]).toBe(2);
  });

  test("the command ends at a signal, with what it started saved", async () => {
    const child = spawn(process.execPath, [main, "studio", "runs", "--port", "0", "--json"], {
      cwd: place,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const exit = once(child, "exit");
    const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
    const { url, token } = JSON.parse(line);
    const studio = { url, token } as Studio;
    await ask(studio, "/api/jobs", {
      command: "train",
      options: { ...quick, steps: 5000, evalEvery: 5000, seed: 3, baselines: false },
    });
    const path = "letters-prompt-seed3";
    await expect
      .poll(async () => (await details(studio, path).catch(() => null))?.events.length ?? 0, { timeout: 60_000 })
      .toBeGreaterThan(2);
    child.kill("SIGTERM");
    expect((await exit)[0]).toBe(0);
    const { run } = await details(await open(), path);
    expect(run).toMatchObject({ state: "stopped" });
    expect(run.steps).toBeGreaterThan(0);
  });
});
