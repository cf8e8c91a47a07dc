/** @file The first view: commands that were started here, and every run under the folder. */
import { flopText, scaled, scoreText } from "../../report/format.js";
import type { ListedRun } from "../../study/run-list.js";
import type { JobState } from "../protocol.js";
import { api } from "./api.js";
import { Badge, Heading, Problem, Progress, Scroll, Search, Section } from "./parts.jsx";
import { linkTo, useAction, useKept, useStudio } from "./state.js";

export function Home() {
  const { state } = useStudio();
  return (
    <>
      <Heading unseen>Runs and commands</Heading>
      {state.jobs.length > 0 && (
        <Section title="Commands">
          <ul class="jobs">
            {[...state.jobs].reverse().map((job) => (
              <JobLine job={job} key={job.id} />
            ))}
          </ul>
        </Section>
      )}
      <Runs runs={state.runs} folder={state.folder} readOnly={state.readOnly} />
    </>
  );
}

function JobLine({ job }: { readonly job: JobState }) {
  const { again, state } = useStudio();
  const { busy, error, run } = useAction();
  const ended = job.ended !== null;
  const change = (ask: () => Promise<unknown>) =>
    run(async () => {
      await ask();
      again();
    });
  return (
    <li>
      <Badge state={job.status} />
      <a href={linkTo("job", [["id", job.id]])}>
        {job.command} {job.path ?? ""}
      </a>
      <span class="soft last">{job.error?.problem ?? job.lines.at(-1) ?? ""}</span>
      {!state.readOnly &&
        (ended ? (
          <button type="button" disabled={busy} onClick={() => change(() => api.forgetJob(job.id))}>
            Hide
          </button>
        ) : (
          <button
            type="button"
            disabled={busy || job.status === "stopping"}
            onClick={() => change(() => api.stopJob(job.id))}
          >
            Stop
          </button>
        ))}
      <Problem error={error} />
    </li>
  );
}

/** Columns that the table can be sorted by. */
const columns = {
  run: { head: "run", of: (run) => run.path, text: true },
  task: { head: "task", of: (run) => run.task ?? "", text: true },
  method: { head: "method", of: (run) => run.method ?? "", text: true },
  model: { head: "model", of: (run) => run.model ?? "", text: true },
  state: { head: "state", of: (run) => run.state, text: true },
  steps: { head: "steps", of: (run) => run.steps ?? -1, text: false },
  score: { head: "score", of: (run) => run.score ?? -1, text: false },
  trained: { head: "trained", of: (run) => run.trainedParameters ?? -1, text: false },
  compute: { head: "compute", of: (run) => run.flops ?? -1, text: false },
  written: { head: "written", of: (run) => run.written ?? "", text: false },
} satisfies Record<string, { head: string; of: (run: ListedRun) => string | number; text: boolean }>;
type Column = keyof typeof columns;

const names = Object.keys(columns) as Column[];

/** The runs that hold every word, in the order of a column; texts from A, numbers from the highest. */
export function sortedRuns(runs: readonly ListedRun[], words: string, column: Column, turned: boolean): ListedRun[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const { of, text } = columns[column];
  const sign = text === turned ? -1 : 1;
  return runs
    .filter((run) => {
      const all = [run.path, run.task, run.method, run.model, run.state].join(" ").toLowerCase();
      return wanted.every((word) => all.includes(word));
    })
    .sort((a, b) => {
      const [x, y] = [of(a), of(b)];
      return sign * (x < y ? -1 : x > y ? 1 : 0);
    });
}

function Runs({
  runs,
  folder,
  readOnly,
}: {
  readonly runs: readonly ListedRun[];
  readonly folder: string;
  readonly readOnly: boolean;
}) {
  const [words, setWords] = useKept("words", () => "");
  const [[column, turned], setOrder] = useKept<readonly [Column, boolean]>("order", () => ["written", false]);
  const [chosen, setChosen] = useKept<ReadonlySet<string>>("chosen", () => new Set());
  const shown = sortedRuns(runs, words, column, turned);
  const toggle = (path: string) => {
    const next = new Set(chosen);
    if (!next.delete(path)) next.add(path);
    setChosen(next);
  };
  const paths = runs.filter(({ path }) => chosen.has(path)).map(({ path }) => ["path", path] as const);
  if (runs.length === 0)
    return (
      <Section title="Runs">
        <p>
          There is no run under <code>{folder}</code> yet.{" "}
          {!readOnly && (
            <>
              Start with <a href={linkTo("new")}>a new training</a>, or on the command line:{" "}
              <code>softprompt quickstart</code>.
            </>
          )}
        </p>
      </Section>
    );
  return (
    <Section title="Runs">
      <div class="bar">
        <Search placeholder="find: task, method, model, state" label="find runs" words={words} set={setWords} />
        <span class="soft">
          {shown.length} of {runs.length}
        </span>
        <ChosenLink words={`Compare ${paths.length}`} of={paths.length >= 2 ? linkTo("compare", paths) : null} />
        <ChosenLink words={`Try ${paths.length}`} of={paths.length >= 1 ? linkTo("try", paths) : null} />
      </div>
      <Scroll label="runs">
        <table>
          <thead>
            <tr>
              <th>
                <span class="unseen">chosen</span>
              </th>
              {names.map((name) => (
                <th
                  key={name}
                  class={columns[name].text ? "" : "n"}
                  aria-sort={column !== name ? "none" : turned === columns[name].text ? "descending" : "ascending"}
                >
                  <button type="button" class="plain" onClick={() => setOrder([name, column === name && !turned])}>
                    {columns[name].head}
                    {column === name ? (turned ? " ↑" : " ↓") : ""}
                  </button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((run) => (
              <tr key={run.path}>
                <td>
                  <input
                    type="checkbox"
                    aria-label={`choose ${run.path}`}
                    checked={chosen.has(run.path)}
                    onChange={() => toggle(run.path)}
                  />
                </td>
                <td>
                  <a href={linkTo("run", [["path", run.path]])}>{run.path}</a>
                </td>
                <td>{run.task ?? "–"}</td>
                <td>{run.method ?? "–"}</td>
                <td class="model" title={run.model ?? ""}>
                  {run.model?.split(/[\\/]/).at(-1) ?? "–"}
                </td>
                <td title={run.error ?? ""}>
                  <Badge state={run.state} />
                </td>
                <td class="n">
                  {run.steps ?? "–"}
                  {run.plannedSteps !== null && `/${run.plannedSteps}`}
                  {run.state !== "done" && run.steps !== null && (
                    <Progress done={run.steps} of={run.plannedSteps} label={`steps of ${run.path}`} />
                  )}
                </td>
                <td class="n" title={run.metric ?? ""}>
                  {scoreText(run.score)}
                </td>
                <td class="n">{scaled(run.trainedParameters)}</td>
                <td class="n">{flopText(run.flops)}</td>
                <td class="n">{run.written === null ? "–" : whenText(run.written)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      <p class="soft">
        Scores are × 100, of the best evaluation by each task's first metric; the rows they were measured on may differ
        from run to run.
      </p>
    </Section>
  );
}

/** Leads to what can be done with the chosen runs. @param of null: too few are chosen */
function ChosenLink({ words, of }: { readonly words: string; readonly of: string | null }) {
  return of === null ? (
    <button type="button" disabled>
      {words}
    </button>
  ) : (
    <a class="button" href={of}>
      {words}
    </a>
  );
}

/** A time as the reader's clock shows it: the hour of today, else the day. */
export function whenText(iso: string, now = new Date()): string {
  const at = new Date(iso);
  const two = (n: number) => String(n).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return at.toDateString() === now.toDateString() ? `${two(at.getHours())}:${two(at.getMinutes())}` : day;
}
