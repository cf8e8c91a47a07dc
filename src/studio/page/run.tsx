/** @file One run: where it stands, its curves, costs, errors, words and settings; stop it, go on with it, begin another like it. */
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { type AxisName, courseOf, runCharts } from "../../report/curves.js";
import {
  aboutText,
  byteText,
  flopText,
  partialText,
  plainNumber,
  scaled,
  scoreText,
  secondText,
} from "../../report/format.js";
import type { Prediction } from "../../report/predictions.js";
import type { PredictionsPage, RunDetails } from "../protocol.js";
import { api, fileAddress } from "./api.js";
import { Badge, Charts, Choice, Heading, Problem, Progress, Scroll, Section, Tiles, Told } from "./parts.jsx";
import { linkTo, useAction, useAsked, useStudio } from "./state.js";

/** Milliseconds between two looks at a run that trains. */
const lookEvery = 1500;

/** What the page knows of a run, with what has come since. */
export function joined(last: RunDetails | null, next: RunDetails): RunDetails {
  const goesOn = last !== null && last.generation === next.generation && next.after <= last.events.length;
  return goesOn ? { ...next, events: [...last.events.slice(0, next.after), ...next.events], after: 0 } : next;
}

/** Asks for what has come since. */
export async function readOn(path: string, last: RunDetails | null): Promise<RunDetails> {
  return joined(last, await api.run(path, last?.events.length ?? 0, last?.generation ?? ""));
}

export function Run({ path }: { readonly path: string }) {
  const { state } = useStudio();
  const listed = state.runs.find((run) => run.path === path);
  const live = listed?.state === "running";
  const { value, error, again } = useAsked<RunDetails>(
    (last) => readOn(path, last),
    path,
    live ? lookEvery : null,
    // what does not train is asked once more when its state is another or it is written again
    live ? "" : `${listed?.state} ${listed?.written}`,
  );
  if (value === null) return error === null ? <p class="soft">reading {path} …</p> : <Problem error={error} />;
  return (
    <>
      <Problem error={error} />
      <Details details={value} again={again} />
    </>
  );
}

function Details({ details, again }: { readonly details: RunDetails; readonly again: () => void }) {
  const { run, result, events, warnings } = details;
  const searched = run.kind === "search";
  const course = useMemo(() => courseOf(events), [events]);
  const charts = useCallback(
    (axis: AxisName) =>
      // the step that a search kept is one of a retraining, and this is the course of its tuning
      runCharts(course, axis, { bestStep: searched ? undefined : result?.run.bestStep, ...result?.baseline }),
    [course, result, searched],
  );
  return (
    <>
      <Heading>
        {run.path} <Badge state={run.state} />
      </Heading>
      <p class="lead">
        {[run.method, run.task, run.model, run.seed === null ? null : `seed ${run.seed}`].filter(Boolean).join(" · ")}
      </p>
      {run.error !== null && <p class="bad">{run.error}</p>}
      <Actions details={details} again={again} />
      <Failure run={run} />
      <Now details={details} />
      {warnings.map((told) => (
        <p class="bad" key={told}>
          Warning: {told}
        </p>
      ))}
      {course.steps.length + course.evals.length > 0 && (
        <Section title={searched ? "Curves of the tuning" : "Curves"}>
          <Charts of={charts} />
          {course.stages.length > 1 && (
            <p class="soft">
              Stages: {course.stages.map((s) => `${partialText(s.partial)} from step ${s.step}`).join("; ")}.
            </p>
          )}
        </Section>
      )}
      {result !== null && <Predictions run={run} key={`predictions ${result.run.steps}`} />}
      {result !== null && details.virtualTokens > 0 && <Words path={run.path} key={`words ${result.run.steps}`} />}
      {details.config !== null && (
        <Section title="Settings">
          <details>
            <summary>config.yaml</summary>
            <pre>{details.config}</pre>
          </details>
        </Section>
      )}
    </>
  );
}

/** Why the latest command that was started here for this run failed. */
function Failure({ run }: { readonly run: RunDetails["run"] }) {
  const { state } = useStudio();
  const job = state.jobs.findLast(({ path }) => path === run.path);
  if (job?.status !== "failed" || job.error === null || run.state === "running") return null;
  return (
    <>
      <p class="bad">
        <a href={linkTo("job", [["id", job.id]])}>Its latest command</a> failed:
      </p>
      <Told error={job.error} />
    </>
  );
}

/** Evaluations and steps go on as they went so far. @returns null where it is not known, or no step is left */
export function secondsLeft(events: RunDetails["events"], planned: number | null): number | null {
  const steps = events.filter((event) => event.kind === "step");
  const evals = events.filter((event) => event.kind === "eval");
  const [last, evaluated] = [steps.at(-1), evals.at(-1)];
  if (planned === null || last === undefined || last.step >= planned) return null;
  const sum = (of: readonly { readonly seconds: number }[]) => of.reduce((all, { seconds }) => all + seconds, 0);
  const recent = steps.slice(-30);
  const evalPace = evaluated === undefined ? 0 : sum(evals) / Math.max(1, evaluated.step);
  return (planned - last.step) * (sum(recent) / recent.length + evalPace);
}

/** The figures that are looked for first: of a result, or of where the training is. */
function Now({ details: { run, result, outgrown, events } }: { readonly details: RunDetails }) {
  if (result !== null && !outgrown) {
    const { scores, baseline, cost } = result;
    const [metric, score] = Object.entries(scores)[0] ?? ["score", Number.NaN];
    const beside = (of: Readonly<Record<string, number>> | null, label: string) =>
      of?.[metric] === undefined ? [] : [[scoreText(of[metric]), label] as const];
    return (
      <Tiles
        figures={[
          [scoreText(score), metric],
          ...beside(baseline.noPrompt, "before, no prompt"),
          ...beside(baseline.majority, "majority class"),
          [secondText(cost.seconds), "wall clock"],
          [flopText(cost.flops), "all matrix products"],
          [scaled(cost.trainedParameters), "parameters trained"],
          [byteText(cost.adapterBytes), "adapter"],
        ]}
      />
    );
  }
  const last = events.findLast((event) => event.kind === "step");
  const left = secondsLeft(events, run.plannedSteps);
  return (
    <>
      {run.steps !== null && (
        <Progress done={last?.step ?? run.steps} of={run.plannedSteps} label={`steps of ${run.path}`} />
      )}
      <Tiles
        figures={[
          [`${last?.step ?? run.steps ?? 0}${run.plannedSteps === null ? "" : `/${run.plannedSteps}`}`, "steps"],
          [last === undefined ? "–" : plainNumber(last.loss, 3), "loss"],
          [scoreText(run.score), run.metric ?? "score"],
          ...(run.state === "running" && left !== null ? [[aboutText(left), "of training left"] as const] : []),
          [flopText(run.flops), "so far"],
        ]}
      />
      {result !== null && (
        <p class="soft">
          The adapter, the result, the report and the answers below are still those of step {result.run.steps}.
        </p>
      )}
    </>
  );
}

function Actions({ details, again }: { readonly details: RunDetails; readonly again: () => void }) {
  const { run } = details;
  const studio = useStudio();
  const { busy, error, run: act } = useAction();
  // a process of another terminal says nothing until it has ended
  const [asked, setAsked] = useState(false);
  useEffect(() => {
    if (run.state !== "running") setAsked(false);
  }, [run.state]);
  const job = studio.state.jobs.find((one) => one.path === run.path && one.ended === null);
  const command = run.kind === "search" ? "prune" : "train";
  const goesOn = details.config !== null && run.kind !== "study run";
  const begin = (options: Readonly<Record<string, unknown>>) =>
    act(async () => {
      await api.start(command, options);
      studio.again();
      again();
    });
  const stop = () =>
    act(async () => {
      await api.stopRun(run.path);
      setAsked(true);
      studio.again();
      again();
    });
  const stopping = asked || job?.status === "stopping";
  const may = !studio.state.readOnly;
  return (
    <>
      <div class="bar">
        {may && run.state === "running" && (
          <button type="button" disabled={busy || stopping} onClick={stop}>
            {stopping ? "Stopping …" : "Stop and save"}
          </button>
        )}
        {may && goesOn && run.state === "stopped" && job === undefined && (
          <button type="button" disabled={busy} onClick={() => begin({ resume: run.path })}>
            Go on
          </button>
        )}
        {may && goesOn && details.extendable && job === undefined && (
          <Further
            steps={run.steps ?? 0}
            busy={busy}
            begin={(steps) => begin({ resume: run.path, steps })}
            key={run.steps}
          />
        )}
        {may && goesOn && (
          <a
            class="button"
            href={linkTo("new", [
              ["command", command],
              ["like", run.path],
            ])}
          >
            Another like it
          </a>
        )}
        {may && goesOn && run.kind === "run" && run.state === "done" && (
          <a
            class="button"
            href={linkTo("new", [
              ["command", "prune"],
              ["from", run.path],
            ])}
          >
            Prune it
          </a>
        )}
        {details.task !== null && (
          <a class="button" href={linkTo("try", [["path", run.path]])}>
            Try it
          </a>
        )}
        {details.report !== null && (
          <a class="button" href={fileAddress(details.report, "report.html")} target="_blank" rel="noreferrer">
            {run.kind === "study run" ? "The study's report" : "Report"}
          </a>
        )}
        {job !== undefined && <a href={linkTo("job", [["id", job.id]])}>its command</a>}
      </div>
      <Problem error={error} />
    </>
  );
}

/** A finished training goes on to more steps. */
function Further({
  steps,
  busy,
  begin,
}: {
  readonly steps: number;
  readonly busy: boolean;
  readonly begin: (steps: number) => void;
}) {
  const [text, setText] = useState(String(2 * steps));
  const wanted = Number(text);
  return (
    <span class="inline">
      <button
        type="button"
        disabled={busy || !Number.isSafeInteger(wanted) || wanted <= steps}
        onClick={() => begin(wanted)}
      >
        Go on to
      </button>
      <input
        type="text"
        inputMode="numeric"
        aria-label="steps in all"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
      />
      steps
    </span>
  );
}

function Predictions({ run: { path, state, written } }: { readonly run: RunDetails["run"] }) {
  const [which, setWhich] = useState<"wrong" | "all">("wrong");
  const { value, error } = useAsked(
    () => api.predictions(path, which === "wrong"),
    `${path} ${which}`,
    null,
    // they are written just before a run ends
    state === "running" ? "" : `${state} ${written}`,
  );
  if (value?.all === 0) return null;
  return (
    <Section title="Answers on the validation rows">
      <Choice label="show" values={["wrong", "all"] as const} value={which} choose={setWhich} />
      <Problem error={error} />
      {value !== null && <PredictionTable path={path} which={which} first={value} key={`${which} ${value.total}`} />}
    </Section>
  );
}

function PredictionTable({
  path,
  which,
  first,
}: {
  readonly path: string;
  readonly which: "wrong" | "all";
  readonly first: PredictionsPage;
}) {
  const { busy, error, run } = useAction();
  const [rows, setRows] = useState(first.rows);
  const more = async () => setRows([...rows, ...(await api.predictions(path, which === "wrong", rows.length)).rows]);
  return (
    <>
      <p class="soft">
        {rows.length} of {first.total} {which === "wrong" ? `wrong answers, of ${first.all} in all` : "answers"}{" "}
        {rows.length < first.total && (
          <button type="button" disabled={busy} onClick={() => run(more)}>
            More
          </button>
        )}
      </p>
      <Problem error={error} />
      <Scroll tall label="answers">
        <table class="rows stacked">
          <thead>
            <tr>
              <th>text</th>
              <th>true</th>
              <th>answer</th>
              <th class="n">probability</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((row) => (
              <PredictionRow row={row} key={row.id} />
            ))}
          </tbody>
        </table>
      </Scroll>
    </>
  );
}

function PredictionRow({ row }: { readonly row: Prediction }) {
  const said = row.label ?? row.text;
  const probability = row.label === null ? undefined : row.probabilities?.[row.label];
  return (
    <tr>
      <td class="text">{row.input}</td>
      <td data-head="true">{row.trueLabel ?? row.target}</td>
      <td data-head="answer" class={row.correct ? "good" : "bad"}>
        {said}
      </td>
      <td data-head="probability" class="n">
        {probability === undefined ? "–" : scoreText(probability)}
      </td>
    </tr>
  );
}

/** A word that is less near says little of the token. */
const nearWord = 0.3;

/** The vocabulary words nearest to each virtual token, asked for by a button: the model is opened for it. */
function Words({ path }: { readonly path: string }) {
  const { busy, error, run } = useAction();
  const [found, setFound] = useState<Awaited<ReturnType<typeof api.words>> | null>(null);
  return (
    <Section title="The prompt as words">
      {found === null ? (
        <button type="button" disabled={busy} onClick={() => run(async () => setFound(await api.words(path)))}>
          {busy ? "reading the model …" : "Nearest words of each virtual token"}
        </button>
      ) : (
        <ol class="tokens" start={0}>
          {found.tokens.map((nearest, i) => (
            // a token is its place
            <li key={i}>
              {nearest.length === 0 ? (
                <span class="soft">pruned</span>
              ) : (
                nearest.map(({ piece, cosine }) => (
                  <span key={piece} class={cosine < nearWord ? "soft" : ""}>
                    <code>{piece}</code> {cosine.toFixed(2)}{" "}
                  </span>
                ))
              )}
            </li>
          ))}
        </ol>
      )}
      <Problem error={error} />
    </Section>
  );
}
