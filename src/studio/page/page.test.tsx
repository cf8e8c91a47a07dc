// @vitest-environment happy-dom
/** @file The page against a studio that is played by the test: what it shows, what it asks, and what it sends. */
import { render } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ListedRun } from "../../study/run-list.js";
import type { Form, JobState, RunDetails, StudioState } from "../protocol.js";
import { differences } from "./compare.jsx";
import { commandLine } from "./form.jsx";
import { sortedRuns, whenText } from "./home.jsx";
import { App } from "./main.jsx";
import { nearestPoint } from "./parts.jsx";
import { joined } from "./run.jsx";
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
  ...{ lines: ["step 1/9"], error: null, asked: "2026-11-28T18:02:08.000Z", started: null, ended: null },
  ...more,
});
const event = (step: number, loss: number) =>
  ({ kind: "step", step, stage: 0, loss, seconds: 1, flops: step, time: "" }) as never;
const details = (run: ListedRun, more: Partial<RunDetails> = {}): RunDetails => ({
  ...{ run, config: "model: t5-nano\n", options: { model: "t5-nano", steps: 30, seed: 4 }, result: null, warnings: [] },
  ...{ task: null, report: null, events: [event(1, 2), event(2, 1)], after: 0, generation: "1" },
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

/** Shows a place, and lets its requests be answered. */
async function show(place: string): Promise<void> {
  location.hash = place;
  await act(() => {
    render(<App />, document.body);
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
    for (const box of document.querySelectorAll<HTMLInputElement>("tbody input")) await act(() => box.click());
    const link = [...document.querySelectorAll("a")].find((one) => one.textContent === "Compare 2")!;
    expect(placeOf(link.getAttribute("href")!).query.getAll("path")).toEqual(["a", "b"]);
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

test("a question goes to the chosen prompts, and answers are shown", async () => {
  const task = { name: "t", template: "{text}", fields: ["text"], verbalizer: { good: "good", bad: "bad" } };
  answers["/api/run"] = () => details(listed("a"), { task });
  const one = { path: "a", text: "good", truncated: false };
  answers["/api/answers"] = () => ({
    answers: [
      { ...one, frozen: false, label: "good", probabilities: { bad: 0.1, good: 0.9 }, error: null },
      { ...one, frozen: true, label: null, probabilities: null, error: "too long" },
    ],
    ...{ seconds: 1, model: "t5-nano" },
  });
  await show(linkTo("try", [["path", "a"]]));
  await write("field-text", "fine");
  await click("Ask");
  expect(posted("/api/answers")).toEqual({ paths: ["a"], input: { text: "fine" }, frozen: true });
  const [tuned, frozen] = [...document.querySelectorAll(".card")].map((card) => card.textContent);
  expect(tuned).toContain("good90.0bad10.0");
  expect(frozen).toContain("too long");
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
