/** @file Runs beside each other: scores, costs, curves, and the settings in which they differ. */
import { useCallback, useMemo } from "preact/hooks";
import { type AxisName, comparedCharts, courseOf } from "../../report/curves.js";
import { flopText, scaled, scoreText, secondText } from "../../report/format.js";
import type { RunDetails } from "../protocol.js";
import { Badge, Charts, Problem, Section } from "./parts.jsx";
import { readOn } from "./run.jsx";
import { linkTo, useAsked, useStudio } from "./state.js";

/** Milliseconds between two looks where one of them trains. */
const lookEvery = 3000;

export function Compare({ paths }: { readonly paths: readonly string[] }) {
  const { state } = useStudio();
  const live = state.runs.some((run) => paths.includes(run.path) && run.state === "running");
  const { value, error } = useAsked<readonly RunDetails[]>(
    (last) => Promise.all(paths.map((path, i) => readOn(path, last?.[i] ?? null))),
    paths.join("\n"),
    live ? lookEvery : null,
  );
  if (paths.length === 0) return <p>Choose runs on the first page.</p>;
  if (value === null) return error === null ? <p class="soft">reading …</p> : <Problem error={error} />;
  return (
    <>
      <h1>Compare</h1>
      <Problem error={error} />
      <Beside runs={value} />
    </>
  );
}

function Beside({ runs }: { readonly runs: readonly RunDetails[] }) {
  const courses = useMemo(() => runs.map(({ run, events }) => ({ name: run.path, course: courseOf(events) })), [runs]);
  const charts = useCallback((axis: AxisName) => comparedCharts(courses, axis), [courses]);
  const differing = differences(runs);
  return (
    <>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th>run</th>
              <th>method</th>
              <th>state</th>
              <th class="n">steps</th>
              <th class="n">score</th>
              <th class="n">trained</th>
              <th class="n">compute</th>
              <th class="n">wall clock</th>
            </tr>
          </thead>
          <tbody>
            {runs.map(({ run, result }) => (
              <tr key={run.path}>
                <td>
                  <a href={linkTo("run", [["path", run.path]])}>{run.path}</a>
                </td>
                <td>{run.method ?? "–"}</td>
                <td>
                  <Badge state={run.state} />
                </td>
                <td class="n">{run.steps ?? "–"}</td>
                <td class="n">
                  {scoreText(run.score)} {run.metric}
                </td>
                <td class="n">{scaled(run.trainedParameters)}</td>
                <td class="n">{flopText(run.flops)}</td>
                <td class="n">{secondText(result?.cost.seconds)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Section title="Curves">
        <Charts of={charts} />
      </Section>
      {differing.length > 0 && (
        <Section title="Settings that differ">
          <div class="scroll">
            <table>
              <thead>
                <tr>
                  <th>option</th>
                  {runs.map(({ run }) => (
                    <th key={run.path}>{run.path}</th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {differing.map(([key, values]) => (
                  <tr key={key}>
                    <td>
                      <code>{key}</code>
                    </td>
                    {values.map((value, i) => (
                      <td key={runs[i]!.run.path}>{value}</td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </Section>
      )}
    </>
  );
}

/** Options whose values are not the same in every run, with the values; "–" where a run has none. */
export function differences(
  runs: readonly Pick<RunDetails, "options">[],
): (readonly [key: string, values: readonly string[]])[] {
  const keys = [...new Set(runs.flatMap(({ options }) => Object.keys(options)))].filter((key) => key !== "output");
  return keys.flatMap((key) => {
    const values = runs.map(({ options }) => {
      const value = options[key];
      return value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value);
    });
    return new Set(values).size > 1 ? [[key, values] as const] : [];
  });
}
