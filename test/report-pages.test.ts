import { expect, test } from "vitest";
import { type RunReport, reportPage } from "../src/report/html.js";
import { html, htmlTable, page, switched } from "../src/report/page.js";
import type { Prediction } from "../src/report/predictions.js";
import { cellText, studyMarkdown, studyPage } from "../src/study/pages.js";

const hostile = `"><img src=x onerror=alert(1)><script>alert('2')</script>`;

const prediction = (label: string, said: string, sure: number, input = "text"): Prediction => ({
  id: `dev.jsonl:${sure}`,
  input,
  label: said,
  text: said,
  probabilities: { [said]: sure, other: 1 - sure },
  trueLabel: label,
  target: label,
  correct: label === said,
});

const report: RunReport = {
  title: `run ${hostile}`,
  result: {
    run: {
      task: hostile,
      method: "prompt-tuning",
      options: { template: hostile, verbalizer: { a: hostile }, nothing: undefined },
      seed: 3,
      commit: null,
      reason: "steps",
      steps: 20,
      bestStep: 10,
    },
    scores: { accuracy: 0.75 },
    scoredOn: { split: "validation", rows: 4 },
    baseline: { majority: { accuracy: 0.5 }, noPrompt: null },
    cost: {
      flops: 3e12,
      trainFlops: 2e12,
      evalFlops: 1e12,
      paperFlops: 1e12,
      scoringFlops: 0,
      seconds: 70,
      trainSeconds: 60,
      evalSeconds: 10,
      scoringSeconds: 0,
      openSeconds: 0,
      perStage: [],
      trainedParameters: 3840,
      baseParameters: 9_345_216,
      adapterBytes: 18_815,
      peakBytes: 4e8,
    },
    where: {
      softprompt: "0.1.0",
      node: "20",
      onnxruntime: "1.30.0",
      device: "cpu",
      platform: "linux-x64",
      cpu: hostile,
      cores: 2,
      memoryBytes: 1e9,
      model: { name: hostile, sha256: "ab" },
      data: [{ path: hostile, sha256: "cd", rows: 4 }],
    },
  },
  steps: [1, 2, 3].map((step) => ({
    step,
    seconds: step,
    flops: step * 1e9,
    loss: 1 / step,
    learningRate: 0.3,
    gradientNorm: 1,
  })),
  evals: [{ step: 3, seconds: 4, flops: 3e9, loss: 0.5, scores: { accuracy: 0.75 }, best: true }],
  stages: [
    { step: 0, partial: hostile },
    { step: 2, partial: "full" },
  ],
  predictions: [
    prediction("yes", "yes", 0.9, hostile),
    prediction("yes", "no", 0.6, "less sure"),
    prediction("yes", "no", 0.99, `surest ${"long ".repeat(200)}`),
    prediction("no", "no", 0.7),
  ],
  warnings: [hostile],
};

/** Elements of the page, in order, and that they nest. */
function elements(text: string): string[] {
  const body = text.slice(text.indexOf("<body>")).replace(/<!--.*?-->/gs, "");
  const open: string[] = [];
  const names: string[] = [];
  for (const [, closing, name, attributes] of body.matchAll(/<(\/?)([a-zA-Z][\w-]*)([^>]*)>/g)) {
    const lower = name!.toLowerCase();
    if (closing) expect(open.pop()).toBe(lower);
    else {
      names.push(lower);
      if (!["input", "br", "hr", "meta"].includes(lower) && !attributes!.endsWith("/")) open.push(lower);
    }
  }
  expect(open).toEqual([]);
  return names;
}

test("a run's page: nothing of a hostile run gets out of its text, nothing is fetched", () => {
  const text = reportPage(report);
  const names = elements(text.replace("</html>", ""));
  expect(names).not.toContain("script");
  expect(names).not.toContain("img");
  expect(text).toContain("default-src 'none'");
  expect(text).not.toMatch(/https?:\/\/(?!www\.w3\.org\/2000\/svg)/);
  expect(text).not.toMatch(/<[^>]*\son\w+\s*=/i);
  expect(text).toContain("&lt;script&gt;");
});

test("a run's page says what was measured", () => {
  const text = reportPage(report);
  expect(text).toMatch(/<b>75\.0<\/b><span>accuracy<\/span>/);
  expect(text).toMatch(/<b>50\.0<\/b><span>majority class<\/span>/);
  expect(text).toMatch(/<b>1 min 10 s<\/b>/);
  // confusion: of three yes, one right; of one no, one right
  expect(text).toMatch(
    /<td>yes<\/td><td class="n">2<\/td><td class="n">1<\/td><td class="n">3<\/td><td class="n">100\.0<\/td><td class="n">33\.3<\/td><td class="n">50\.0<\/td>/,
  );
  expect(text).toMatch(
    /<td>no<\/td><td class="n">1<\/td><td class="n">0<\/td><td class="n">1<\/td><td class="n">33\.3<\/td><td class="n">100\.0<\/td><td class="n">50\.0<\/td>/,
  );
  // the surest error stands first, and long inputs fold
  expect(text.indexOf("surest")).toBeLessThan(text.indexOf("less sure"));
  expect(text).toContain("<details>");
});

test("the same report gives the same bytes", () => {
  expect(reportPage(report)).toBe(reportPage(structuredClone(report)));
});

test("curves come in three axes, one shown at a time", () => {
  const text = reportPage(report);
  for (const axis of ["steps", "time", "FLOPs"]) expect(text).toContain(`>${axis}</label>`);
  expect(text.match(/type="radio"/g)).toHaveLength(3);
  expect(text.match(/ checked>/g)).toHaveLength(1);
});

test("a report without evaluations, predictions or steps is still a page", () => {
  elements(reportPage({ ...report, steps: [], evals: [], predictions: [], stages: [] }).replace("</html>", ""));
});

test("holes are escaped, parts made here are not", () => {
  expect(html`<p>${"<b>"}${html`<i>${1}</i>`}${[html`<u></u>`]}</p>`.html).toBe("<p>&lt;b&gt;<i>1</i><u></u></p>");
  elements(page("t", [switched("s", [["a", html`x`]])]).replace("</html>", ""));
});

test("a study as text and as a page", () => {
  const study = {
    study: "compare",
    title: `FPT ${hostile}`,
    tables: [
      {
        title: "scores",
        columns: [{ name: "method" }, { name: "sst2", unit: "%", digits: 1 }],
        rows: [
          ["PT", { mean: 71.51, deviation: 0.32, count: 3 }],
          ["FPT|CR", -1.25],
          [hostile, null],
        ],
      },
    ],
    charts: [
      {
        title: "c",
        x: "flops" as const,
        xLabel: "FLOPs",
        yLabel: "score",
        series: [{ name: hostile, points: [[1, 2] as const] }],
      },
    ],
    dots: [
      {
        title: hostile,
        xLabel: "average",
        entries: [{ name: hostile, value: { mean: 71.5, deviation: 0.3, count: 3 } }],
      },
    ],
    matrices: [{ title: "m", rows: ["a"], columns: [hostile], values: [[null]] }],
    notes: [hostile],
    settings: { seeds: [1, 2] },
  };
  const text = studyMarkdown(study);
  expect(text).toContain("| PT ");
  expect(text).toContain("71.5 ± 0.3");
  expect(text).toContain("−1.3");
  expect(text).toContain("FPT\\|CR");
  expect(elements(studyPage(study).replace("</html>", ""))).not.toContain("script");
});

test("a study's charts of several axes are shown one axis at a time, with the stages of every method named once", () => {
  const chart = (task: string, view: "steps" | "time") => ({
    title: `${task}: accuracy against ${view}`,
    view,
    x: "steps" as const,
    xLabel: view,
    yLabel: "accuracy × 100, mean of 2 seeds",
    series: [
      { name: "PT", points: [[5, 1] as const, [10, 2] as const] },
      {
        name: hostile,
        points: [[5, 1] as const, [10, 2] as const],
        stages: [
          { x: 0, partial: "e2w192d4-9f02c77c" },
          { x: 4, partial: "full" },
        ],
      },
    ],
  });
  const charts = ["sst2", "rte"].flatMap((task) => [chart(task, "steps"), chart(task, "time")]);
  const study = { study: "compare", title: "t", tables: [], dots: [], charts, matrices: [], notes: [], settings: {} };
  const text = studyPage(study);
  elements(text.replace("</html>", ""));
  expect(text.match(/type="radio"/g)).toHaveLength(2);
  const [, steps, time] = text.split('<div class="view">');
  for (const [pane, view] of [
    [steps!, "steps"],
    [time!.split("</figure></div></div>")[0]!, "time"],
  ] as const)
    expect([...pane.matchAll(/<figcaption>([^<]*)</g)].map(([, title]) => title)).toEqual([
      `sst2: accuracy against ${view}`,
      `rte: accuracy against ${view}`,
    ]);
  expect(text).toContain(">accuracy × 100, mean of 2 seeds</text>");
  expect(
    text.match(/<li>[^<]*\(1\) 2 encoder layers × 192 neurons, 4 decoder layers; \(2\) the full model<\/li>/g),
  ).toHaveLength(1);
  // one chart at a time has the figure of the table beside it
  const dots = [
    { title: "d", xLabel: "average", entries: [{ name: "PT", value: { mean: 1, deviation: 1, count: 2 } }] },
  ];
  expect(studyPage({ ...study, dots, charts: charts.slice(0, 2) })).toContain("<section><h2>Side by side</h2>");
  expect(studyPage({ ...study, dots })).not.toContain("<section>");
});

test("what is wide scrolls under its first column; what is said of a long text stands under it on a phone", () => {
  const rows = [Array.from({ length: 12 }, (_, i) => String(i))];
  const head = Array.from({ length: 12 }, (_, i) => `column ${i}`);
  expect(htmlTable(head, rows).html).toContain('<div class="scroll" tabindex="0"><table class="tight">');
  const errors = reportPage(report);
  expect(errors).toContain('<table class="stacked">');
  for (const name of ["expected", "said", "probability"]) expect(errors).toContain(`data-head="${name}"`);
  expect(htmlTable([hostile], [["a"]], { stacked: true }).html).not.toContain("<img");
  const style = /<style>(.*?)<\/style>/s.exec(errors)![1]!;
  expect(style).toMatch(/\.scroll :is\(th, td\):first-child \{ position: sticky; left: 0;/);
  expect(style).not.toMatch(/url\(|@import/);
});

test("a run of stages shows them above every curve from the first, numbered as in the table of stages", () => {
  const text = reportPage({
    ...report,
    stages: [
      { step: 0, partial: "e2d4" },
      { step: 2, partial: "full" },
    ],
  });
  // a loss and a score on three axes
  expect(text.match(/stage 1 from 0/g)).toHaveLength(6);
  expect(text.match(/, stage 2 from [^<]*: full</g)).toHaveLength(6);
  expect(text).toContain("numbered as below");
  expect(reportPage({ ...report, stages: [{ step: 0, partial: "full" }] })).not.toContain("numbered as below");
});

test("a column of numbers stands on the right, heading too; one word among them and it does not", () => {
  const table = htmlTable(
    ["what", "time", "value", "share"],
    [
      ["a", "1 min 05 s", "20", "–"],
      ["b", "850 ms", "vanilla", "0.063 % of 4.07 M"],
      ["c", "2 h 07 min", "0.3", "71.51 ± 0.32"],
    ],
  ).html;
  expect(table).toContain('<th>what</th><th class="n">time</th><th>value</th><th class="n">share</th>');
  expect(table).toContain('<td>b</td><td class="n">850 ms</td><td>vanilla</td><td class="n">0.063 % of 4.07 M</td>');
});

test("time is told in seconds, minutes or hours, whichever gives round ticks", () => {
  const lasting = (seconds: number) =>
    reportPage({ ...report, steps: report.steps.map((s, i) => ({ ...s, seconds: (seconds * (i + 1)) / 3 })) });
  expect(lasting(100)).toContain(">wall clock (s)<");
  expect(lasting(600)).toContain(">wall clock (min)<");
  expect(lasting(40_000)).toContain(">wall clock (h)<");
});

test("nothing is no less than nothing: −0.004 with two digits is 0.00", () => {
  expect([-0.004, -0.006, 0].map((v) => cellText(v))).toEqual(["0.00", "−0.01", "0.00"]);
});

test("a run of more steps than a call takes arguments is drawn, with the time of its last", () => {
  const steps = Array.from({ length: 200_000 }, (_, i) => ({ ...report.steps[0]!, step: i + 1, seconds: i / 10 }));
  const text = reportPage({ ...report, steps });
  expect(text).toContain(">wall clock (h)<");
  const sure = { ...prediction("yes", "no", 0.6), probabilities: Object.fromEntries(steps.map((s) => [s.step, 0.25])) };
  expect(reportPage({ ...report, predictions: [sure] })).toContain('<td class="n" data-head="probability">0.25</td>');
});

test("a run that ended for a reason named like something every object has is told as any other (found by fuzzing)", () => {
  for (const reason of ["__proto__", "constructor", "toString"]) {
    const told = { ...report, result: { ...report.result, run: { ...report.result.run, reason } } };
    expect(reportPage(told)).toContain(`${reason}; the prompt of step`);
  }
});
