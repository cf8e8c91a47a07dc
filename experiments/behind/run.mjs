/**
 * @file Where should a prompt stand? Start, end and both ends on a decoder-only model, XPrompt's search at start and end, and T5's three
 * places, at equal steps, equal FLOPs and equal seconds.
 *
 *   node experiments/behind/run.mjs MODEL DATASETS OUT [--t5 FOLDER] [--parts causal,search,t5] [--tasks sst2,cb] [--seeds 0,1,2,3,4]
 *     [--settings FILE] [--earlier RESULTS.json] [--collect FOLDER]
 *
 * In:  MODEL, a decoder-only model's folder; DATASETS holds the tasks as their owners publish them; settings.yaml beside this file has every
 *      setting.
 * Out: OUT/NAME.json of every finished job, which is not done again; --collect alone runs nothing and writes FOLDER/results.json and
 *      results.md of what is finished, or with other settings files of their name. --earlier takes the jobs of committed results as finished,
 *      and their rates as chosen. Needs `npm run build`.
 *
 * A job opens the model with an empty text cache in memory. Its FLOPs and seconds are those of the training: texts that are read once are
 * in both, evaluations in neither. The learning rate of each place and task is chosen on a fifth of the training rows, by loss; those runs
 * are not counted. Seconds are only worth anything if the machine did nothing else.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { evaluate, loadData, prune, tune } from "softprompt";
import { parse } from "yaml";
import { bestRate, evenly, evenRows, heldOut, openJobs, openNamed } from "../jobs.mjs";
import { causalData } from "../rows.mjs";
import { deviation, mean, signed, tested } from "../statistics.mjs";

const usage =
  "node experiments/behind/run.mjs MODEL DATASETS OUT [--t5 FOLDER] [--parts causal,search,t5] [--tasks …] [--seeds …] [--settings FILE] [--earlier RESULTS.json] [--collect FOLDER]";
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    t5: { type: "string", default: join(import.meta.dirname, "../../models/t5-nano") },
    parts: { type: "string", default: "causal,search,t5" },
    tasks: { type: "string" },
    seeds: { type: "string", default: "0,1,2,3,4" },
    settings: { type: "string", default: join(import.meta.dirname, "settings.yaml") },
    earlier: { type: "string" },
    collect: { type: "string" },
  },
});
const [folder, datasets, out] = positionals;
if (out === undefined) {
  console.error(usage);
  process.exit(2);
}
const own = parse(readFileSync(values.settings, "utf8"));
const seeds = values.seeds.split(",").map(Number);
const tasksOf = (part) => own[part].tasks.filter((task) => values.tasks?.split(",").includes(task) ?? true);
const folders = { causal: folder, t5: values.t5 };
mkdirSync(out, { recursive: true });

/** SQuAD's questions that have an answer, each with its text and first answer. */
const questionsOf = (file) =>
  JSON.parse(readFileSync(file, "utf8")).data.flatMap(({ paragraphs }) =>
    paragraphs.flatMap(({ context, qas }) =>
      qas.flatMap(({ question, answers: [answer] }) => (answer ? [{ context, question, answer: answer.text }] : [])),
    ),
  );
/** The same training and validation rows for every place. */
async function dataOf(part, task, place) {
  const { trainingRows, validationRows, positions } = own[part];
  const promptPosition = positions[place];
  if (part === "t5") {
    const at = { task, data: join(datasets, own.folders[task]), ...own.t5.data?.[task] };
    const data = await loadData({ ...at, promptPosition, dataSeed: 0 });
    return evenRows(data, { trainingRows, validationRows });
  }
  const put = { folder: own.folders[task], ...own.templates[task] };
  if (put.files !== undefined) return writtenData(task, place, put, own[part]);
  return causalData(datasets, { task, put, trainingRows, validationRows, promptPosition });
}

/** A task whose answers are written, not chosen: its target is the answer's text. Of long texts the end would be cut, and an answer with it. */
async function writtenData(
  task,
  place,
  { folder: at, template, files, characters, metric, maxTargetTokens },
  settings,
) {
  const short = ({ context }) => context.length <= (characters ?? Number.POSITIVE_INFINITY);
  const [train, validation] = ["train", "validation"].map((split) =>
    questionsOf(join(datasets, at, files[split])).filter(short),
  );
  const { trainingRows, validationRows, positions } = settings;
  return loadData({
    ...{ task, rows: train, validationRows: evenly(validation, validationRows), fewShot: trainingRows },
    ...{ template, targetColumn: "answer", metrics: [metric], maxTargetTokens, promptPosition: positions[place] },
  });
}
/** What a task is told by. */
const metricOf = (task) => own.templates?.[task]?.metric ?? "accuracy";

const jobs = openJobs(out, { settings: own, models: [folder, values.t5], datasets });
const { found } = jobs;
if (values.earlier !== undefined) jobs.takeEarlier(values.earlier);
/** Runs a job whose result is not there yet, on a model of its own: no text was read before. */
const job = (name, part, work) =>
  jobs.job(name, {
    open: () => openNamed(folders[part], { threads: 1, textCacheMemory: 4096, textCacheDisk: 0 }),
    work,
    summary: ({ scores }) => scores,
  });

/** One tuning: its evaluations, with what the training had cost until each. */
async function curveOf(model, data, options) {
  const curve = [];
  const from = performance.now();
  let evaluating = 0;
  const onEvent = (event) => {
    if (event.kind !== "eval") return;
    evaluating += event.seconds;
    const seconds = (performance.now() - from) / 1000 - evaluating;
    curve.push({ step: event.step, scores: event.scores, loss: event.loss, flops: event.flops, seconds });
  };
  const { result } = await tune(model, data, { ...options, maxEvalRows: 0, onEvent });
  return { curve, scores: curve.at(-1).scores, where: result.where };
}

/** The rate whose prompt has the smallest loss on held-out rows: chosen with seed 0, whose run has it. */
function rateOf(part, task, place) {
  const { settings, init, rates, rateSteps } = own[part];
  const known = found(`${part}-${task}-${place}-0`);
  if (known !== null) return known.learningRate;
  return bestRate(rates, async (learningRate) => {
    const { curve } = await job(`${part}-${task}-${place}-rate-${learningRate}`, part, async (model) => {
      const how = { ...settings, init: init[place], learningRate, steps: rateSteps, evalEvery: rateSteps, seed: 0 };
      return curveOf(model, heldOut(await dataOf(part, task, place)), how);
    });
    return curve.at(-1).loss;
  });
}

/** The frozen model without a prompt, on the same rows. */
const untold = (part, task) =>
  job(`${part}-${task}-untold`, part, async (model) => {
    const { settings, positions } = own[part];
    const data = await dataOf(part, task, Object.keys(positions)[0]);
    const options = { maxInputTokens: settings.maxInputTokens, batchSize: settings.batchSize, loss: false };
    const { scores } = await evaluate(model, data, options);
    return { rows: data.validation.length, scores };
  });

async function runPlaces(part, seed) {
  const { settings, positions, init, steps, evalEvery } = own[part];
  for (const task of tasksOf(part)) {
    await untold(part, task);
    /** FLOPs that the prompt in front takes for its steps; the first place is the one in front. */
    let budget = null;
    for (const place of Object.keys(positions)) {
      const learningRate = await rateOf(part, task, place);
      const how = { ...settings, init: init[place], learningRate, evalEvery, seed };
      const run = (name, count) =>
        job(name, part, async (model) => {
          const data = await dataOf(part, task, place);
          return { learningRate, ...(await curveOf(model, data, { ...how, steps: count })) };
        });
      const name = `${part}-${task}-${place}-${seed}`;
      const { curve } = await run(name, steps[place]);
      budget ??= curve.at(-1).flops;
      // once more, ending where the budget does, if no evaluation is near it
      const near = told(part, curve).some(({ flops }) => Math.abs(flops - budget) <= sameCost * budget);
      if (!near) await run(`${name}-equal`, stepsFor(curve, budget));
    }
  }
}

/** The evaluations that count. Where the rate falls to nothing, a training is told by its end alone. */
const told = (part, curve) => (falls(part) ? curve.slice(-1) : curve);
const falls = (part) => (own[part].settings.learningRateSchedule ?? "constant") !== "constant";

/** So much of the budget beside it counts as the same: two trainings never cost the same. */
const sameCost = 0.03;

/** How many steps cost the budget, by what the steps of a curve cost; what was read once comes before the first. */
function stepsFor(curve, budget) {
  const [first, last] = [curve[0], curve.at(-1)];
  const perStep = (last.flops - first.flops) / (last.step - first.step);
  return Math.max(1, Math.round(first.step + (budget - first.flops) / perStep));
}

async function runSearch(seed) {
  const { places, steps, prune: search } = own.search;
  const { settings, init } = own.causal;
  for (const place of places) {
    const learningRate = await rateOf("causal", "cb", place);
    await job(`search-cb-${place}-${seed}`, "causal", async (model) => {
      const how = { ...settings, init: init[place], learningRate, steps, evalEvery: steps, seed, ...search };
      const data = await dataOf("causal", "cb", place);
      const from = performance.now();
      const { record } = await prune(model, data, how);
      const seconds = (performance.now() - from) / 1000;
      const { importance: _, ...told } = record.search;
      return { learningRate, seconds, flops: record.cost.flops, scores: record.scores, search: told };
    });
  }
}

if (values.collect === undefined) {
  const parts = values.parts.split(",");
  for (const seed of seeds) {
    if (parts.includes("causal")) await runPlaces("causal", seed);
    if (parts.includes("search")) await runSearch(seed);
    if (parts.includes("t5")) await runPlaces("t5", seed);
  }
} else collect(values.collect);

/** Every finished job, and the tables of what there is. */
function collect(to) {
  const results = {};
  const percent = (x) => (100 * x).toFixed(1);
  const over = (all) => {
    if (all.length === 0 || all.some((x) => x === undefined)) return "–";
    if (all.length === 1) return percent(all[0]);
    return `${percent(mean(all))} ± ${percent(deviation(all))}`;
  };
  /** The last evaluation that cost no more, or hardly more. */
  const within = (curve, key, most) =>
    curve.toSorted((a, b) => a.step - b.step).findLast((point) => point[key] <= most * (1 + sameCost));
  /** The evaluation nearest to the budget, of the run and of the one that ends there. */
  const nearest = (runs, most) => {
    const all = runs.flat();
    return all.reduce((best, point) => (Math.abs(point.flops - most) < Math.abs(best.flops - most) ? point : best));
  };
  /** Points of a place above the prompt in front, of equal seeds. */
  const differences = (points, front, metric) =>
    points.flatMap((point, n) => (point && front[n] ? [100 * (point.scores[metric] - front[n].scores[metric])] : []));
  const compared = (points) => {
    const all = tested(points);
    if (all === null) return "–";
    return `${signed(all.mean)}${all.error === null ? "" : ` ± ${all.error.toFixed(2)}`} (${all.signs}, p ${all.p.toFixed(2)})`;
  };
  const limits = { steps: "equal steps", flops: "equal FLOPs", seconds: "equal seconds" };
  const pairs = [];
  const tables = ["causal", "t5"].flatMap((part) => {
    const places = Object.keys(own[part].positions);
    const rows = own[part].tasks.flatMap((task) => {
      // seeds that every place has
      const whole = seeds.flatMap((seed) => {
        const runs = Object.fromEntries(places.map((place) => [place, found(`${part}-${task}-${place}-${seed}`)]));
        return Object.values(runs).includes(null) ? [] : [{ seed, runs }];
      });
      if (whole.length === 0) return [];
      const equal = (place, seed) => found(`${part}-${task}-${place}-${seed}-equal`);
      for (const { seed, runs } of whole)
        for (const place of places) {
          results[`${part}-${task}-${place}-${seed}`] = runs[place];
          const more = equal(place, seed);
          if (more !== null) results[`${part}-${task}-${place}-${seed}-equal`] = more;
        }
      /** The evaluations of a place: of its run, and of the one that ends where the budget does. */
      const pointsOf = (place, { seed, runs }) =>
        [runs[place], equal(place, seed)].flatMap((run) => (run === null ? [] : [told(part, run.curve)]));
      const fewest = Math.min(...Object.values(own[part].steps));
      // the budget: what the prompt in front takes for its steps
      const budget = (key, { runs }) => runs.start.curve.at(-1)[key];
      /** A place's evaluations at the three limits, one of each seed. */
      const at = Object.fromEntries(
        places.map((place) => [
          place,
          {
            steps: whole.map(({ runs }) => within(told(part, runs[place].curve), "step", fewest)),
            flops: whole.map((one) => {
              const most = budget("flops", one);
              const point = nearest(pointsOf(place, one), most);
              return { ...point, share: point.flops / most };
            }),
            seconds: whole.map((one) => {
              const points = falls(part) ? pointsOf(place, one).flat() : one.runs[place].curve;
              return within(points, "seconds", budget("seconds", one));
            }),
          },
        ]),
      );
      const scores = (points) => over(points.map((point) => point?.scores[metricOf(task)]));
      const cells = Object.keys(limits).flatMap((limit) =>
        places.map((place) => {
          const points = at[place][limit];
          const share = limit === "flops" ? ` (${(100 * mean(points.map((point) => point.share))).toFixed(0)} %)` : "";
          return `${scores(points)}${share}`;
        }),
      );
      const [front, ...others] = places;
      for (const limit of ["steps", "flops"])
        for (const place of others)
          pairs.push({
            part,
            task,
            place,
            limit,
            all: differences(at[place][limit], at[front][limit], metricOf(task)),
          });
      const rates = places.map((place) => whole[0].runs[place].learningRate).join(" / ");
      const bare = found(`${part}-${task}-untold`);
      if (bare !== null) results[`${part}-${task}-untold`] = bare;
      const before = bare === null ? "–" : percent(bare.scores[metricOf(task)]);
      return [`| ${[task, whole.length, before, rates, ...cells].join(" | ")} |`];
    });
    if (rows.length === 0) return [];
    const names = Object.values(limits).flatMap((name) => places.map((place) => `${name}: ${place}`));
    const head = ["task", "seeds", "no prompt", "rates", ...names];
    const paired = pairs.filter((pair) => pair.part === part);
    const groups = places.slice(1).flatMap((place) => ["steps", "flops"].map((limit) => ({ place, limit })));
    const pairLines = groups.flatMap(({ place, limit }) => {
      const of = paired.filter((pair) => pair.place === place && pair.limit === limit);
      const line = (task, all) => `| ${[task, place, limits[limit], compared(all)].join(" | ")} |`;
      const together =
        of.length > 1
          ? [
              line(
                "all",
                of.flatMap(({ all }) => all),
              ),
            ]
          : [];
      return [...of.map(({ task, all }) => line(task, all)), ...together];
    });
    return [
      `## ${part === "t5" ? basename(folders.t5) : basename(folder)}`,
      "",
      `Prompts start from: ${places.map((place) => `${place} from ${own[part].init[place]}`).join(", ")}.`,
      "",
      `| ${head.join(" | ")} |`,
      `| ${head.map((_, n) => (n === 0 ? "---" : "--:")).join(" | ")} |`,
      ...[...rows, ""],
      `| task | place | at | points above ${places[0]} ± standard error (above / equal / below, sign test) |`,
      "| --- | --- | --- | --- |",
      ...[...pairLines, ""],
    ];
  });
  const searches = own.search.places.flatMap((place) => {
    const runs = seeds.flatMap((seed) => found(`search-cb-${place}-${seed}`) ?? []);
    for (const seed of seeds) {
      const one = found(`search-cb-${place}-${seed}`);
      if (one !== null) results[`search-cb-${place}-${seed}`] = one;
    }
    if (runs.length === 0) return [];
    const numbers = [
      mean(runs.map(({ seconds }) => seconds)).toFixed(0),
      mean(runs.map(({ flops }) => flops / 1e12)).toFixed(1),
    ];
    return [`| ${[place, runs.length, ...numbers, over(runs.map(({ scores }) => scores.accuracy))].join(" | ")} |`];
  });
  // jobs of earlier tables do not say theirs
  const processors = [...new Set(Object.values(results).map(({ processor }) => processor ?? "not recorded"))];
  const text = [
    "# Where the prompt stands",
    "",
    "Accuracy (of squad: token F1) in percent, mean ± deviation over seeds, of the last evaluation within a limit that is equal for all places: the fewest steps of any place; and the FLOPs and the seconds that the prompt in front needs for its steps. At equal FLOPs it is the evaluation nearest to them, and the share of them that was spent stands beside it. Texts that are read once are counted. No validation row chose a prompt or a rate. Seconds say something only of a machine that did nothing else.",
    "",
    ...tables,
    ...(searches.length === 0
      ? []
      : [
          ...["## XPrompt's linear search on CB", "", "| place | searches | seconds | TFLOP | accuracy |"],
          ...["| --- | --: | --: | --: | --: |", ...searches, ""],
        ]),
    `Processors, one thread of each: ${processors.join(", ")}; Node ${process.version}. Settings: ${basename(values.settings)}.`,
    "",
    "Made by `node experiments/behind/run.mjs MODEL DATASETS OUT --collect FOLDER`.",
    "",
  ].join("\n");
  const file = join(to, basename(values.settings) === "settings.yaml" ? "results" : basename(values.settings, ".yaml"));
  // files by their place among the datasets
  const json = JSON.stringify({ ...own, seeds, ...jobs.madeFrom, results }, null, 1).replaceAll(
    join(datasets, "/"),
    "",
  );
  writeFileSync(`${file}.json`, `${json}\n`);
  writeFileSync(`${file}.md`, text);
  console.log(text);
}
