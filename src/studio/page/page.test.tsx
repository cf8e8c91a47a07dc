// @vitest-environment happy-dom
/** @file The page against a studio that is played by the test: what it shows, what it asks, and what it sends. */
import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ListedRun } from "../../study/run-list.js";
import type { Form, JobState, RunDetails, StudioState } from "../protocol.js";
import { differences, shortNames } from "./compare.jsx";
import { commandLine } from "./form.jsx";
import { sortedRuns, whenText } from "./home.jsx";
import { App } from "./main.jsx";
import { nearestPoint } from "./parts.jsx";
import { joined, secondsLeft } from "./run.jsx";
import { linkTo, placeOf } from "./state.js";
import { fieldText, fieldValue } from "./values.js";

const listed = (path: string, more: Partial<ListedRun> = {}): ListedRun => ({
  ...{ path, kind: "run", state: "done", pid: null, host: null, error: null, task: "reviews", method: "prompt-tuning" },
  ...{ model: "/models/t5-nano", seed: 0, steps: 30, plannedSteps: 30, metric: "accuracy", score: 0.85 },
  ...{ trainedParameters: 2560, flops: 1e11, written: "2026-11-28T18:02:08.000Z" },
  ...more,
});
const job = (more: Partial<JobState> = {}): JobState => ({
  ...{ id: "1", command: "train", options: {}, line: "softprompt train", path: "a", status: "running", pid: 1 },
  ...{
    lines: ["step 1/9"],
    linesBefore: 0,
    error: null,
    asked: "2026-11-28T18:02:08.000Z",
    started: null,
    ended: null,
  },
  ...more,
});
const event = (step: number, loss: number) =>
  ({ kind: "step", step, stage: 0, loss, seconds: 1, flops: step, time: "" }) as never;
const details = (run: ListedRun, more: Partial<RunDetails> = {}): RunDetails => ({
  ...{ run, config: "model: t5-nano\n", options: { model: "t5-nano", steps: 30, seed: 4 }, result: null, warnings: [] },
  ...{
    outgrown: false,
    extendable: false,
    virtualTokens: 0,
    task: null,
    report: null,
    events: [event(1, 2), event(2, 1)],
    after: 0,
    generation: "1",
  },
  ...more,
});

let state: StudioState;
let asked: { path: string; query: URLSearchParams; body: unknown }[];
let answers: Record<string, (query: URLSearchParams, body: unknown) => unknown>;
const text = () => document.body.textContent ?? "";

beforeEach(() => {
  vi.useFakeTimers();
  state = {
    ...{ version: "1", folder: "/here/runs", cwd: "/here", readOnly: false, bundled: ["t5-nano"], jobs: [] },
    runs: [listed("a"), listed("b", { task: "spam", score: 0.9, state: "stopped" })],
  };
  asked = [];
  answers = { "/api/state": () => state };
  vi.stubGlobal("fetch", async (address: string, init?: { body?: string }) => {
    const url = new URL(address, "http://127.0.0.1");
    const body = init?.body === undefined ? undefined : JSON.parse(init.body);
    asked.push({ path: url.pathname, query: url.searchParams, body });
    const found = answers[url.pathname]?.(url.searchParams, body);
    if (found === undefined) throw new TypeError("fetch failed");
    return found instanceof Response ? found : Response.json(found);
  });
});
afterEach(() => {
  render(null, document.body);
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Shows a place as a link does, and lets its requests be answered. @param entry what the history keeps of it: one goes back to it */
async function show(place: string, entry: unknown = null): Promise<void> {
  location.hash = place;
  history.replaceState(entry, "");
  await act(() => {
    render(<App />, document.body);
    // the test's browser tells of it by a clock that stands still
    window.dispatchEvent(new Event("hashchange"));
  });
  await settle();
}
/** In several turns: what is shown after an answer asks again. */
async function settle(milliseconds = 50): Promise<void> {
  for (let turn = 0; turn < 5; turn++)
    await act(async () => {
      await vi.advanceTimersByTimeAsync(milliseconds / 5);
    });
}
async function click(words: string): Promise<void> {
  const found = [...document.querySelectorAll("button, a")].find((one) => one.textContent === words);
  if (found === undefined) throw new Error(`there is no ${words} in: ${text()}`);
  await act(() => (found as HTMLElement).click());
  await settle();
}
async function write(id: string, value: string): Promise<void> {
  const field = document.getElementById(id) as HTMLInputElement;
  await act(() => {
    field.value = value;
    field.dispatchEvent(new Event(field.tagName === "SELECT" ? "change" : "input", { bubbles: true }));
  });
}
const posted = (path: string) => asked.filter((one) => one.path === path && one.body !== undefined).at(-1)?.body;

describe("the first view", () => {
  test("shows runs and commands, and follows them", async () => {
    state = { ...state, jobs: [job()] };
    await show("");
    expect(text()).toContain("step 1/9");
    expect(document.querySelectorAll("tbody tr")).toHaveLength(2);
    state = { ...state, runs: [...state.runs, listed("c", { state: "running", steps: 3, plannedSteps: 9 })] };
    await settle(2100);
    expect(document.querySelectorAll("tbody tr")).toHaveLength(3);
    expect(text()).toContain("3/9");
  });

  test("a studio that has ended is said, and the page goes on when it is back", async () => {
    await show("");
    answers = {};
    await settle(2100);
    expect(text()).toContain("the studio cannot be reached");
    expect(document.querySelectorAll("tbody tr")).toHaveLength(2);
    answers = { "/api/state": () => state };
    await settle(2100);
    expect(text()).not.toContain("cannot be reached");
  });

  test("chosen runs are compared", async () => {
    await show("");
    const none = [...document.querySelectorAll("button")].find((one) => one.textContent === "Compare 0")!;
    expect(none.disabled).toBe(true);
    for (const box of document.querySelectorAll<HTMLInputElement>("tbody input")) await act(() => box.click());
    const link = [...document.querySelectorAll("a")].find((one) => one.textContent === "Compare 2")!;
    expect(placeOf(link.getAttribute("href")!).query.getAll("path")).toEqual(["a", "b"]);
  });

  test("commands that wait are no running ones", async () => {
    state = { ...state, jobs: [job(), job({ id: "2", status: "waiting" })] };
    await show("");
    expect(document.querySelector("nav")!.textContent).toContain("1 running1 waiting");
  });

  test("where there is no run, it says how to begin", async () => {
    state = { ...state, runs: [] };
    await show("");
    expect(text()).toContain("There is no run under /here/runs yet");
  });

  test("a studio that only reads offers nothing that changes", async () => {
    state = { ...state, readOnly: true, jobs: [job()] };
    await show("");
    expect([...document.querySelectorAll("button, a")].map((one) => one.textContent)).not.toContain("Stop");
    expect([...document.querySelectorAll("nav a")].map((one) => one.textContent)).toEqual(["Try"]);
  });
});

describe("a run", () => {
  test("is drawn, and asks for what is new alone while it trains", async () => {
    state = { ...state, runs: [listed("a", { state: "running", score: null })] };
    answers["/api/run"] = (query) =>
      query.get("after") === "2"
        ? details(state.runs[0]!, { events: [event(3, 0.5)], after: 2 })
        : details(state.runs[0]!);
    await show(linkTo("run", [["path", "a"]]));
    expect(document.querySelectorAll("figure.chart svg").length).toBe(1);
    expect(text()).toContain("2/30");
    await settle(1600);
    expect(asked.at(-1)!.query.get("generation")).toBe("1");
    expect(text()).toContain("3/30");
    answers["/api/stop"] = () => ({});
    await click("Stop and save");
    expect(posted("/api/stop")).toEqual({ path: "a" });
  });

  test("that was stopped is gone on with; its error is shown", async () => {
    answers["/api/run"] = () => details(listed("b", { state: "stopped" }));
    answers["/api/jobs"] = () =>
      Response.json({ error: { message: "a command is already to write there", param: null } }, { status: 409 });
    await show(linkTo("run", [["path", "b"]]));
    await click("Go on");
    expect(posted("/api/jobs")).toEqual({ command: "train", options: { resume: "b" } });
    expect(text()).toContain("already to write there");
  });

  test("has its wrong answers, and more of them at a button", async () => {
    const row = (id: string) => ({
      ...{ id, input: `text ${id}`, label: "bad", text: "bad", probabilities: { bad: 0.7 }, trueLabel: "good" },
      ...{ target: "good", correct: false },
    });
    const result = { scores: { accuracy: 0.5 }, baseline: { noPrompt: null, majority: null }, cost: {}, run: {} };
    answers["/api/run"] = () => details(listed("a"), { result: result as never });
    answers["/api/predictions"] = (query) => ({
      rows: query.get("from") === "0" ? [row("1"), row("2")] : [row("3")],
      total: query.get("wrong") === "true" ? 3 : 2,
      all: 9,
    });
    await show(linkTo("run", [["path", "a"]]));
    expect(text()).toContain("2 of 3 wrong answers, of 9 in all");
    await click("More");
    expect(asked.at(-1)!.query.get("from")).toBe("2");
    expect(text()).toContain("text 3goodbad70.0");
    expect(text()).not.toContain("More");
    await click("all");
    expect(text()).toContain("2 of 2 answers");
    answers["/api/predictions"] = () => ({ rows: [], total: 0, all: 0 });
    await click("wrong");
    expect(text()).not.toContain("Answers on the validation rows");
  });

  test("that is made longer shows where it is, and says that its result is of fewer steps", async () => {
    const result = {
      scores: { accuracy: 0.77 },
      baseline: { noPrompt: null, majority: null },
      cost: {},
      run: { steps: 2 },
    };
    const run = listed("a", { state: "running", steps: 2, plannedSteps: 4, score: 0.5 });
    state = { ...state, runs: [run] };
    answers["/api/run"] = () => details(run, { result: result as never, outgrown: true });
    answers["/api/predictions"] = () => ({ rows: [], total: 0, all: 0 });
    await show(linkTo("run", [["path", "a"]]));
    expect(text()).toContain("2/4steps");
    expect(text()).toContain("still those of step 2");
    expect(text()).not.toContain("77.0");
  });

  test("is gone on with to more steps where it can be; a failed command says why on the run's page", async () => {
    answers["/api/run"] = () => details(state.runs[0]!, { extendable: true });
    answers["/api/jobs"] = () => job({ status: "failed", error: { kind: "run", problem: "no" } });
    await show(linkTo("run", [["path", "a"]]));
    const steps = document.querySelector<HTMLInputElement>('[aria-label="steps in all"]')!;
    const button = () => [...document.querySelectorAll("button")].find((one) => one.textContent === "Go on to")!;
    expect(steps.value).toBe("60");
    await act(() => {
      steps.value = "";
      steps.dispatchEvent(new Event("input", { bubbles: true }));
    });
    expect([steps.value, button().disabled]).toEqual(["", true]);
    await act(() => {
      steps.value = "45";
      steps.dispatchEvent(new Event("input", { bubbles: true }));
    });
    const failed = job({ status: "failed", ended: "2026-11-28", error: { kind: "run", problem: "it is too old" } });
    state = { ...state, jobs: [failed] };
    await click("Go on to");
    expect(posted("/api/jobs")).toEqual({ command: "train", options: { resume: "a", steps: 45 } });
    expect(text()).toContain("it is too old");
    answers["/api/run"] = () => details(state.runs[0]!);
    await show("");
    await show(linkTo("run", [["path", "a"]]));
    expect(text()).not.toContain("Go on to");
  });

  test("of another terminal that is asked to stop says so until it has", async () => {
    const run = listed("a", { state: "running" });
    state = { ...state, runs: [run] };
    answers["/api/run"] = () => details(state.runs[0]!);
    answers["/api/stop"] = () => ({});
    await show(linkTo("run", [["path", "a"]]));
    await click("Stop and save");
    expect(text()).toContain("Stopping …");
    state = { ...state, runs: [{ ...run, state: "stopped" }] };
    await settle(4000);
    expect(text()).not.toContain("Stopping …");
  });

  test("that ends is the same view, with what was opened in it", async () => {
    const run = listed("a", { state: "running" });
    state = { ...state, runs: [run] };
    answers["/api/run"] = () => details(state.runs[0]!);
    await show(linkTo("run", [["path", "a"]]));
    await click("time");
    const settings = document.querySelector("details")!;
    state = { ...state, runs: [{ ...run, state: "done" }] };
    await settle(4000);
    expect(document.querySelector("h1")!.textContent).toContain("done");
    expect(document.querySelector("details")).toBe(settings);
    expect(document.querySelector('[aria-pressed="true"]')!.textContent).toBe("time");
  });

  test("offers nearest words only where it has virtual tokens, and marks no step of a search on the curves of its tuning", async () => {
    const scores = { accuracy: 0.5 };
    const evaluated = { kind: "eval", step: 2, stage: 0, partial: "full", scores, loss: 1, seconds: 1, flops: 2 };
    const events = [event(1, 2), event(2, 1), { ...evaluated, best: true, time: "" } as never];
    const result = { scores, baseline: { noPrompt: null, majority: null }, cost: {}, run: { steps: 2, bestStep: 2 } };
    answers["/api/predictions"] = () => ({ rows: [], total: 0, all: 0 });
    const open = async (path: string, more: Partial<RunDetails>) => {
      answers["/api/run"] = () => details(listed(path), { result: result as never, events, ...more });
      await show(linkTo("run", [["path", path]]));
      return text();
    };
    const run = await open("a", { virtualTokens: 4 });
    expect(run).toContain("kept");
    expect(run).toContain("Nearest words");
    const search = await open("b", { run: listed("b", { kind: "search" }) });
    expect(search).toContain("Curves of the tuning");
    expect(search).not.toContain("kept");
    expect(search).not.toContain("Nearest words");
  });

  test("of a study leads to the study's report", async () => {
    const run = listed("study/runs/x.json", { kind: "study run" });
    state = { ...state, runs: [run] };
    answers["/api/run"] = () => details(run, { config: null, options: {}, events: [], report: "study" });
    await show(linkTo("run", [["path", run.path]]));
    const link = [...document.querySelectorAll("a")].find((one) => one.textContent === "The study's report")!;
    expect(link.getAttribute("href")).toBe("/files/study/report.html");
    expect(text()).not.toContain("Go on");
  });

  test("texts of a run are text, whatever they hold", async () => {
    const hostile = '<img src=x onerror="alert(1)">';
    const run = listed(hostile, { task: hostile, model: hostile, metric: hostile });
    state = { ...state, runs: [run] };
    const scores = { [hostile]: 0.5 };
    const evaluated = { kind: "eval", step: 2, stage: 0, partial: hostile, scores, loss: 1, seconds: 1, flops: 2 };
    answers["/api/run"] = () =>
      details(run, { events: [event(1, 2), { ...evaluated, best: true, time: "" } as never], warnings: [hostile] });
    await show(linkTo("run", [["path", hostile]]));
    expect(document.querySelectorAll("img")).toHaveLength(0);
    expect(document.querySelectorAll("figure.chart svg")).toHaveLength(2);
    expect(text()).toContain(hostile);
  });
});

const form: Form = {
  ...{ command: "train", summary: "learn", essentials: ["model", "steps"] },
  sections: [
    {
      name: "All",
      options: [
        { key: "steps", flag: "--steps", kind: "integer", default: 100, required: false, help: "Steps" },
        {
          key: "model",
          flag: "--model",
          kind: "string",
          default: undefined,
          required: true,
          help: "Model",
          placeholder: "folder",
        },
        { key: "verbalizer", flag: "--verbalizer", kind: "map", default: undefined, required: false, help: "Words" },
        { key: "template", flag: "--template", kind: "string", default: undefined, required: false, help: "Text" },
        { key: "seed", flag: "--seed", kind: "integer", default: 0, required: false, help: "Seed" },
        { key: "output", flag: "--output", kind: "string", default: undefined, required: false, help: "Where" },
        { key: "resume", flag: "--resume", kind: "string", default: undefined, required: false, help: "Resume" },
      ],
    },
  ],
};

describe("a form", () => {
  beforeEach(() => {
    answers["/api/forms"] = () => [form];
  });

  test("sends what was given alone, and marks the option that is wrong", async () => {
    answers["/api/jobs"] = () =>
      Response.json(
        { error: { message: "steps: this value cannot be used", param: "options.steps" } },
        { status: 400 },
      );
    await show("new");
    expect(document.getElementById("option-resume")).toBeNull();
    await write("option-model", "t5-nano");
    await write("option-steps", "0");
    await write("option-verbalizer", "0=bad=worse\n1=good");
    expect(text()).toContain("softprompt train --steps 0 --model t5-nano --verbalizer 0=bad=worse --verbalizer 1=good");
    await click("Start");
    expect(posted("/api/jobs")).toEqual({
      command: "train",
      options: { model: "t5-nano", steps: 0, verbalizer: { "0": "bad=worse", "1": "good" } },
    });
    expect(document.querySelector(".field.wrong label")?.textContent).toContain("steps");
    const wrong = document.getElementById("option-steps")!;
    expect(wrong.getAttribute("aria-invalid")).toBe("true");
    const [problem] = wrong.getAttribute("aria-describedby")!.split(" ");
    expect(document.getElementById(problem!)!.textContent).toContain("this value cannot be used");
    expect(document.activeElement).toBe(wrong);
    answers["/api/jobs"] = () => job({ id: "7", status: "failed", error: { kind: "data", problem: "no rows" } });
    state = { ...state, jobs: [job({ id: "7", status: "failed", error: { kind: "data", problem: "no rows" } })] };
    await click("Start");
    await settle(2100);
    expect(location.hash).toBe("#/job?id=7");
    expect(text()).toContain("no rows");
  });

  test("another like a run begins with its settings, but for its place and what is usual", async () => {
    answers["/api/run"] = () => details(listed("a"), { options: { model: "m", steps: 100, seed: 4, output: "/x" } });
    answers["/api/jobs"] = () => job();
    await show(
      linkTo("new", [
        ["command", "train"],
        ["like", "a"],
      ]),
    );
    await click("Start");
    expect(posted("/api/jobs")).toEqual({ command: "train", options: { model: "m", seed: 4 } });
  });
});

describe("typed and chosen things", () => {
  beforeEach(() => {
    answers["/api/forms"] = () => [form, { ...form, command: "prune" }];
  });
  const open = () => [...document.querySelectorAll("details")].map((one) => one.open);
  const find = async (words: string) => {
    const field = document.querySelector<HTMLInputElement>("[type=search]")!;
    await act(() => {
      field.value = words;
      field.dispatchEvent(new Event("input", { bubbles: true }));
    });
  };

  test("Enter in a field starts nothing", async () => {
    await show("new");
    const found = document.querySelector("form")!;
    expect(found.querySelector("[type=search], [type=submit]")).toBeNull();
    const submit = new Event("submit", { cancelable: true });
    await act(() => void found.dispatchEvent(submit));
    expect(submit.defaultPrevented).toBe(true);
    expect(posted("/api/jobs")).toBeUndefined();
  });

  test("a section stays open while its fields are emptied, and numbers may be half written", async () => {
    await show("new");
    expect(open()).toEqual([true, false]);
    const all = document.querySelectorAll("details")[1]!;
    await act(() => {
      all.open = true;
      all.dispatchEvent(new Event("toggle"));
    });
    await write("option-seed", "1e-");
    expect(document.getElementById("option-seed")).toMatchObject({ value: "1e-", type: "text", inputMode: "decimal" });
    await write("option-seed", "");
    expect(open()).toEqual([true, true]);
  });

  test("another command keeps the texts of the options that it has too", async () => {
    await show("new");
    await write("option-model", "mine");
    await click("prune");
    expect(document.getElementById("option-model")).toMatchObject({ value: "mine" });
    await click("train");
    expect(document.getElementById("option-model")).toMatchObject({ value: "mine" });
  });

  test("going back brings back what was there; a link leads to an empty form", async () => {
    await show("");
    await find("spam");
    const entry = history.state;
    await show("new");
    await write("option-model", "mine");
    await show("", entry);
    expect(document.querySelectorAll("tbody tr")).toHaveLength(1);
    await show("");
    expect(document.querySelectorAll("tbody tr")).toHaveLength(2);
    await show("new");
    expect(document.getElementById("option-model")).toMatchObject({ value: "" });
  });

  test("a changed place gives the focus to its heading", async () => {
    await show("");
    await show("new");
    expect(document.activeElement?.textContent).toBe("New");
    expect(document.activeElement?.tagName).toBe("H1");
  });

  test("rows are shown as the model reads them, and under no other options", async () => {
    let answer: (preview: unknown) => void = () => {};
    const held = () =>
      new Promise((done) => {
        answer = done;
      });
    const fetched = globalThis.fetch;
    vi.stubGlobal("fetch", async (address: string, init?: RequestInit) =>
      address === "/api/preview" ? Response.json(await held()) : fetched(address, init),
    );
    const long = { input: "a long text", target: "good", label: "good", read: "a long", tokensCut: 2 };
    const tokens = { median: 3, longest: 9, cut: 1 };
    const preview = { splits: [{ split: "train", rows: 1, labels: {}, tokens, examples: [long] }], notices: [] };
    await show("new");
    await click("Show rows as the model will read them");
    await act(() => answer(preview));
    await settle();
    expect(document.querySelector(".example")!.textContent).toBe(
      "a long good (the model reads this, 2 tokens are cut)",
    );
    expect(text()).toContain("median 3, longest 9; 1 rows are cut");
    await click("Show rows as the model will read them");
    await write("option-template", "{other}");
    await act(() => answer(preview));
    await settle();
    expect(document.querySelector(".example")).toBeNull();
  });

  test("another like a run has its suited values and those under former names; a job's place is kept", async () => {
    const common = { default: 0.3, required: false, help: "" };
    const options = [
      { ...common, key: "learningRate", flag: "--learning-rate", kind: "number", suited: true },
      { ...common, key: "snapshotEvery", flag: "--snapshot-every", kind: "integer", formerly: "checkpointEvery" },
      { ...form.sections[0]!.options.find(({ key }) => key === "output")! },
    ] as Form["sections"][number]["options"];
    answers["/api/forms"] = () => [{ ...form, sections: [{ name: "All", options }] }];
    const given = { learningRate: 0.3, checkpointEvery: 7, output: "/x" };
    answers["/api/run"] = () => details(listed("a"), { options: given });
    answers["/api/jobs"] = () => job();
    await show(linkTo("new", [["like", "a"]]));
    await click("Start");
    expect(posted("/api/jobs")).toMatchObject({ options: { learningRate: 0.3, snapshotEvery: 7 } });
    expect(posted("/api/jobs")).not.toMatchObject({ options: { output: "/x" } });
    state = { ...state, jobs: [job({ options: given })] };
    await show("");
    await settle(2100);
    await show(linkTo("new", [["job", "1"]]));
    await click("Start");
    expect(posted("/api/jobs")).toMatchObject({ options: { output: "/x" } });
  });
});

describe("a command", () => {
  const place = linkTo("job", [["id", "1"]]);

  test("says its lines in a log, each in an element of its own that stays", async () => {
    state = { ...state, jobs: [job({ lines: ["one", "two"] })] };
    await show(place);
    const log = document.querySelector('[role="log"]')!;
    const two = log.querySelectorAll("span")[1];
    state = { ...state, jobs: [job({ lines: ["two", "three"], linesBefore: 1 })] };
    await settle(2100);
    expect(log.textContent).toBe("two\nthree\n");
    expect(log.querySelectorAll("span")[0]).toBe(two);
  });

  test("log follows its end, unless the reader has gone back in it", async () => {
    state = { ...state, jobs: [job()] };
    await show(place);
    const log = document.querySelector('[role="log"]')!;
    let height = 500;
    Object.defineProperty(log, "scrollHeight", { get: () => height });
    Object.defineProperty(log, "clientHeight", { get: () => 100 });
    const more = async (n: number) => {
      height += 100;
      state = { ...state, jobs: [job({ lines: Array.from({ length: n }, (_, i) => `line ${i}`) })] };
      await settle(2100);
    };
    await more(2);
    expect(log.scrollTop).toBe(600);
    await act(() => {
      log.scrollTop = 100;
      log.dispatchEvent(new Event("scroll"));
    });
    await more(3);
    expect(log.scrollTop).toBe(100);
  });

  test("that went on with a run is not begun again as another", async () => {
    const ended = { status: "done", ended: "2026-11-28T18:02:08.000Z" } as const;
    state = { ...state, jobs: [job({ ...ended, options: { resume: "a" } })] };
    await show(place);
    expect(text()).not.toContain("change and start again");
    state = { ...state, jobs: [job(ended)] };
    await settle(2100);
    expect(text()).toContain("change and start again");
  });
});

test("what was asked once is asked again when the studio is back", async () => {
  answers["/api/forms"] = () => Response.json({ error: { message: "a token is missing" } }, { status: 401 });
  await show("new");
  expect(text()).toContain("open the address that `softprompt studio` told when it was started");
  answers["/api/forms"] = () => [form];
  await settle(3100);
  expect(document.getElementById("option-model")).not.toBeNull();
});

test("a run that is not there is named, and the others are shown", async () => {
  const run = (query: URLSearchParams) =>
    query.get("path") === "gone"
      ? Response.json({ error: { message: "there is no such run" } }, { status: 404 })
      : details(listed(query.get("path")!, { kind: "search" }));
  answers["/api/run"] = run;
  const paths = ["a", "gone", "b"].map((path) => ["path", path] as const);
  await show(linkTo("compare", paths));
  expect(text()).toContain("gone: there is no such run");
  expect(text()).toContain("a (its tuning)");
  await show(linkTo("try", paths));
  expect(text()).toContain("gone: there is no such run");
  expect(text()).toContain("a has no adapter that says its task");
});

test("a stopped sweep goes on in its folder, and a finished one gives its best setting", async () => {
  const options = { model: "m", try: { steps: "1,2" } };
  const ended = { ended: "2026-11-28T18:02:09.000Z", command: "sweep", path: "x-sweep", options } as const;
  state = { ...state, jobs: [job({ ...ended, status: "stopped" })] };
  answers["/api/jobs"] = () => job({ id: "2" });
  await show(linkTo("job", [["id", "1"]]));
  await click("Go on");
  expect(posted("/api/jobs")).toEqual({ command: "sweep", options: { ...options, output: `${state.folder}/x-sweep` } });
  state = { ...state, jobs: [job({ ...ended, status: "done" })] };
  await show(linkTo("job", [["id", "1"]]));
  await settle(2100);
  expect(document.querySelector('a[href="/files/x-sweep/best.yaml"]')).not.toBeNull();
});

test("a study's trainings are compared by their evaluations, and named by what they are", async () => {
  const event = { step: 2, stage: 0, partial: "full", scores: { accuracy: 0.5 }, loss: 1, seconds: 1, best: false };
  const events = [{ kind: "eval", ...event, flops: 1, paperFlops: 1, totalFlops: 1, time: "" } as const];
  answers["/api/run"] = (query: URLSearchParams) => {
    const path = query.get("path")!;
    return details(listed(path, { kind: "study run", method: `rank ${path}`, task: "topics", seed: 7 }), { events });
  };
  await show(
    linkTo(
      "compare",
      ["1", "2"].map((path) => ["path", path] as const),
    ),
  );
  expect(text()).toContain("rank 1, topics, seed 7");
  // no step of theirs is kept, so there is no curve of training
  expect(document.querySelectorAll("svg")).toHaveLength(1);
});

test("so many runs at once are compared, and the rest is said", async () => {
  answers["/api/run"] = (query) => details(listed(query.get("path")!));
  await show(
    linkTo(
      "compare",
      Array.from({ length: 40 }, (_, i) => ["path", `r${i}`] as const),
    ),
  );
  expect(text()).toContain("the first 32 of 40 runs");
  expect(asked.filter(({ path }) => path === "/api/run")).toHaveLength(32);
});

test("a question goes to the chosen prompts, and answers are shown", async () => {
  const task = { name: "t", template: "{text}", fields: ["text"], verbalizer: { good: "good", bad: "bad" } };
  answers["/api/run"] = (query) => {
    const path = query.get("path")!;
    return details(listed(path), { task: path === "a" ? task : null });
  };
  const one = { path: "a", text: "good", truncated: false };
  answers["/api/answers"] = () => ({
    answers: [
      { ...one, frozen: false, label: "good", probabilities: { bad: 0.1, good: 0.9 }, error: null },
      { ...one, frozen: true, label: null, probabilities: null, error: "too long" },
    ],
    ...{ seconds: 1, model: "t5-nano" },
  });
  // one that has no adapter yet does not keep the other from being asked
  const paths = ["a", "b"].map((path) => ["path", path] as const);
  await show(linkTo("try", paths));
  expect(text()).toContain("b has no adapter that says its task");
  await write("field-text", "fine");
  await click("Ask");
  expect(posted("/api/answers")).toEqual({ paths: ["a"], input: { text: "fine" }, frozen: true });
  const [tuned, frozen] = [...document.querySelectorAll(".card")].map((card) => card.textContent);
  expect(tuned).toContain("good90.0bad10.0");
  expect(frozen).toContain("too long");
  expect(text()).not.toContain("what was asked before");
  // Ctrl+Enter while it is busy asks nothing
  let answer: (answers: unknown) => void = () => {};
  const fetched = globalThis.fetch;
  const questions: string[] = [];
  vi.stubGlobal("fetch", (address: string, init?: RequestInit) => {
    if (address !== "/api/answers") return fetched(address, init);
    questions.push(address);
    return new Promise((done) => {
      answer = done;
    });
  });
  const submit = () => act(() => void document.querySelector("form")!.dispatchEvent(new Event("submit")));
  await submit();
  await submit();
  expect(questions).toHaveLength(1);
  await act(() => answer(Response.json({ answers: [], seconds: 1, model: "t5-nano" })));
  await settle();
  await write("field-text", "other");
  expect(text()).toContain("what was asked before");
});

test("runs beside each other", async () => {
  answers["/api/run"] = (query) =>
    details(listed(query.get("path")!), { options: { steps: 3, seed: query.get("path") } });
  await show(
    linkTo("compare", [
      ["path", "a"],
      ["path", "b"],
    ]),
  );
  expect(document.querySelectorAll("figure.chart svg")).toHaveLength(1);
  expect(text()).toContain("Settings that differ");
  expect([...document.querySelectorAll("table")].at(-1)!.textContent).toBe("optionabseedab");
});

describe("parts", () => {
  test("places and their addresses", () => {
    const path = "a b/ü?&#=%";
    expect(placeOf(linkTo("run", [["path", path]])).query.get("path")).toBe(path);
    expect(placeOf(linkTo("run", [["path", path]])).name).toBe("run");
    expect(placeOf("").name).toBe("");
  });

  test("events are joined where they go on, and replaced where not", () => {
    const run = listed("a");
    const first = details(run);
    expect(joined(first, details(run, { events: [event(3, 0)], after: 2 })).events).toEqual([
      ...first.events,
      event(3, 0),
    ]);
    expect(joined(first, details(run, { events: [event(9, 0)], generation: "2" })).events).toEqual([event(9, 0)]);
    expect(joined(first, details(run, { events: [], after: 1 })).events).toHaveLength(1);
    expect(joined(null, first)).toBe(first);
  });

  test("runs are found by every word and sorted", () => {
    const runs = [listed("a", { score: 0.5 }), listed("b", { score: null }), listed("c", { score: 0.7, task: "spam" })];
    const paths = (words: string, column: "score" | "run", turned = false) =>
      sortedRuns(runs, words, column, turned).map(({ path }) => path);
    expect(paths("", "score")).toEqual(["c", "a", "b"]);
    expect(paths("", "score", true)).toEqual(["b", "a", "c"]);
    expect(paths("", "run")).toEqual(["a", "b", "c"]);
    expect(paths("SPAM tuning", "run")).toEqual(["c"]);
  });

  test("the point nearest along x, those without a value left out", () => {
    expect(
      nearestPoint(
        [
          [1, 5],
          [2, Number.NaN],
          [4, 7],
        ],
        2.2,
        "n",
      ),
    ).toEqual([{ name: "n", x: 1, y: 5 }]);
    expect(nearestPoint([], 1, "n")).toEqual([]);
  });

  test("the time left holds evaluations, and is not said at the end", () => {
    const evaluated = { kind: "eval", step: 2, seconds: 4 } as never;
    const events = [event(1, 2), event(2, 1), evaluated];
    // a second a step, two seconds of evaluation a step
    expect(secondsLeft(events, 12)).toBe(30);
    expect(secondsLeft(events.slice(0, 2), 12)).toBe(10);
    expect(secondsLeft(events, 2)).toBeNull();
    expect(secondsLeft([], 2)).toBeNull();
  });

  test("runs are named by what differs in their paths", () => {
    expect(shortNames(["a/b/x", "a/b/y/z", "a/b/w"])).toEqual(["x", "y/z", "w"]);
    expect(shortNames(["a/x"])).toEqual(["x"]);
    const long = "w".repeat(60);
    const names = shortNames([`${long}-seed1`, `${long}-seed2`, "short"]);
    expect(new Set(names).size).toBe(3);
    expect(shortNames([`${long}-seed1`, `${long}-seed2`])).toEqual(["…1", "…2"]);
    for (const name of names) expect(name.length).toBeLessThanOrEqual(40);
  });

  test("words of a choice may have spaces between them", () => {
    const option = { kind: "list", of: "string", default: undefined, required: false, help: "" } as const;
    expect(fieldValue({ ...option, values: ["prompt", "lora"] }, "prompt, lora")).toEqual(["prompt", "lora"]);
    expect(fieldValue(option, "a, b")).toEqual(["a", " b"]);
  });

  test("settings that differ; places do not count", () => {
    const runs = [{ options: { a: 1, b: [1], output: "x" } }, { options: { a: 1, b: [2], c: "t", output: "y" } }];
    expect(differences(runs)).toEqual([
      ["b", ["[1]", "[2]"]],
      ["c", ["–", "t"]],
    ]);
  });

  test("times of today and of other days", () => {
    const now = new Date(2026, 10, 28, 20);
    expect(whenText(new Date(2026, 10, 28, 7, 5).toISOString(), now)).toBe("07:05");
    expect(whenText(new Date(2026, 1, 3, 7, 5).toISOString(), now)).toBe("2026-02-03");
  });

  test("what cannot be written on a command line is said", () => {
    const option = {
      key: "header",
      flag: "--header",
      kind: "list",
      of: "string",
      default: undefined,
      required: false,
      help: "",
    } as const;
    expect(commandLine(form, [option], { header: ["a,b"] })).toContain("items without commas");
  });

  test.each([
    [{ kind: "integer" }, 5],
    [{ kind: "number" }, 1e-5],
    [{ kind: "boolean" }, false],
    [{ kind: "string" }, "a\nb"],
    [{ kind: "choice", values: ["x"] }, "x"],
    [{ kind: "list", of: "number" }, [0.5, 1]],
    [{ kind: "list", of: "string" }, ["a", "b c"]],
    [{ kind: "list", of: "string", whole: true }, ["a,b", "c"]],
    [{ kind: "map" }, { "0": "a=b", x: "" }],
  ])("%j %j through its field", (option, value) => {
    const full = { default: undefined, required: false, help: "", ...option } as never;
    expect(fieldValue(full, fieldText(full, value))).toEqual(value);
    expect(fieldValue(full, fieldText(full, undefined))).toBeUndefined();
  });
});
