/** @file One run: where it stands, its curves, costs, errors, words and settings; stop it, go on with it, begin another like it. */
import { useCallback, useMemo, useState } from "preact/hooks";
import { type AxisName, courseOf, runCharts } from "../../report/curves.js";
import { byteText, flopText, partialText, plainNumber, scaled, scoreText, secondText } from "../../report/format.js";
import type { Prediction } from "../../report/predictions.js";
import type { PredictionsPage, RunDetails } from "../protocol.js";
import { api, fileAddress } from "./api.js";
import { Badge, Charts, Choice, Problem, Progress, Section, Tiles } from "./parts.jsx";
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
    // what ended is asked once more when it is written again
    live ? path : `${path} ${listed?.state} ${listed?.written}`,
    live ? lookEvery : null,
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
  const course = useMemo(() => courseOf(events), [events]);
  const charts = useCallback(
    (axis: AxisName) => runCharts(course, axis, { bestStep: result?.run.bestStep, ...result?.baseline }),
    [course, result],
  );
  const searched = run.kind === "search";
  return (
    <>
      <h1>
        {run.path} <Badge state={run.state} />
      </h1>
      <p class="lead">
        {[run.method, run.task, run.model, run.seed === null ? null : `seed ${run.seed}`].filter(Boolean).join(" · ")}
      </p>
      {run.error !== null && <p class="bad">{run.error}</p>}
      <Actions details={details} again={again} />
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
      {result !== null && <Predictions path={run.path} />}
      {result !== null && <Words path={run.path} />}
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

/** The figures that are looked for first: of a result, or of where the training is. */
function Now({ details: { run, result, events } }: { readonly details: RunDetails }) {
  if (result !== null) {
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
  const steps = events.filter((event) => event.kind === "step");
  const last = steps.at(-1);
  const recent = steps.slice(-30);
  const pace = recent.reduce((sum, step) => sum + step.seconds, 0) / Math.max(1, recent.length);
  const left = run.plannedSteps === null || last === undefined ? null : (run.plannedSteps - last.step) * pace;
  return (
    <>
      {run.steps !== null && <Progress done={last?.step ?? run.steps} of={run.plannedSteps} />}
      <Tiles
        figures={[
          [`${last?.step ?? run.steps ?? 0}${run.plannedSteps === null ? "" : `/${run.plannedSteps}`}`, "steps"],
          [last === undefined ? "–" : plainNumber(last.loss, 3), "loss"],
          [scoreText(run.score), run.metric ?? "score"],
          ...(run.state === "running" && left !== null ? [[secondText(left), "of training left"] as const] : []),
          [flopText(run.flops), "so far"],
        ]}
      />
    </>
  );
}

function Actions({ details, again }: { readonly details: RunDetails; readonly again: () => void }) {
  const { run } = details;
  const studio = useStudio();
  const { busy, error, run: act } = useAction();
  const job = studio.state.jobs.find((one) => one.path === run.path && one.ended === null);
  const command = run.kind === "search" ? "prune" : "train";
  const goesOn = details.config !== null && run.kind !== "study run";
  const begin = (options: Readonly<Record<string, unknown>>) =>
    act(async () => {
      await api.start(command, options);
      studio.again();
      again();
    });
  const may = !studio.state.readOnly;
  return (
    <>
      <div class="bar">
        {may && run.state === "running" && (
          <button
            type="button"
            disabled={busy || job?.status === "stopping"}
            onClick={() => act(async () => void (await api.stopRun(run.path)))}
          >
            {job?.status === "stopping" ? "Stopping …" : "Stop and save"}
          </button>
        )}
        {may && goesOn && run.state === "stopped" && job === undefined && (
          <button type="button" disabled={busy} onClick={() => begin({ resume: run.path })}>
            Go on
          </button>
        )}
        {may && goesOn && run.state === "done" && run.kind === "run" && job === undefined && (
          <Further steps={run.steps ?? 0} busy={busy} begin={(steps) => begin({ resume: run.path, steps })} />
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
  const [wanted, setWanted] = useState(2 * steps);
  return (
    <form
      class="inline"
      onSubmit={(event) => {
        event.preventDefault();
        begin(wanted);
      }}
    >
      <button type="submit" disabled={busy || wanted <= steps}>
        Go on to
      </button>
      <input
        type="number"
        aria-label="steps in all"
        min={steps + 1}
        value={wanted}
        onInput={(event) => setWanted(Number(event.currentTarget.value))}
      />
      steps
    </form>
  );
}

function Predictions({ path }: { readonly path: string }) {
  const [which, setWhich] = useState<"wrong" | "all">("wrong");
  const { value, error } = useAsked(() => api.predictions(path, which === "wrong"), `${path} ${which}`, null);
  if (value?.all === 0) return null;
  return (
    <Section title="Answers on the validation rows">
      <Choice label="show" values={["wrong", "all"] as const} value={which} choose={setWhich} />
      <Problem error={error} />
      {value !== null && <PredictionTable path={path} which={which} first={value} key={which} />}
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
      <div class="scroll tall">
        <table class="rows">
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
      </div>
    </>
  );
}

function PredictionRow({ row }: { readonly row: Prediction }) {
  const said = row.label ?? row.text;
  const probability = row.label === null ? undefined : row.probabilities?.[row.label];
  return (
    <tr>
      <td class="text">{row.input}</td>
      <td>{row.trueLabel ?? row.target}</td>
      <td class={row.correct ? "good" : "bad"}>{said}</td>
      <td class="n">{probability === undefined ? "–" : scoreText(probability)}</td>
    </tr>
  );
}

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
                  <span key={piece} style={`opacity:${Math.max(0.35, Math.min(1, cosine + 0.3))}`}>
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
