/** @file Runs beside each other: scores, costs, curves, and the settings in which they differ. */
import { useCallback, useMemo } from "preact/hooks";
import { type AxisName, comparedCharts, courseOf } from "../../report/curves.js";
import { flopText, scaled, scoreText, secondText } from "../../report/format.js";
import type { ListedRun } from "../../study/run-list.js";
import { mostFollowed, type RunDetails } from "../protocol.js";
import { Badge, Charts, Heading, Problem, Scroll, Section } from "./parts.jsx";
import { readOn } from "./run.jsx";
import { type Found, found, Missing } from "./several.jsx";
import { linkTo, useAsked, useStudio } from "./state.js";

/** Milliseconds between two looks where one of them trains. */
const lookEvery = 3000;

export function Compare({ paths: asked }: { readonly paths: readonly string[] }) {
  const { state } = useStudio();
  const all = [...new Set(asked)];
  const paths = all.slice(0, mostFollowed);
  const live = state.runs.some((run) => paths.includes(run.path) && run.state === "running");
  const { value, error } = useAsked<Found<RunDetails>>(
    (last) => found(paths, (path) => readOn(path, last?.found.find(({ run }) => run.path === path) ?? null)),
    paths.join("\n"),
    live ? lookEvery : null,
  );
  if (paths.length === 0) return <p>Choose runs on the first page.</p>;
  if (value === null) return error === null ? <p class="soft">reading …</p> : <Problem error={error} />;
  return (
    <>
      <Heading>Compare</Heading>
      <Problem error={error} />
      <Missing of={value} />
      {all.length > paths.length && (
        <p class="bad">
          These are the first {paths.length} of {all.length} runs; more cannot be followed at once.
        </p>
      )}
      {value.found.length > 0 && <Beside runs={value.found} />}
    </>
  );
}

/** Longest name of a line, in characters. */
const longestName = 40;

/** The paths by what is different in them: without the folders that they share, and shortened where they are long. */
export function shortNames(paths: readonly string[]): string[] {
  const folders = paths.map((path) => path.split("/").slice(0, -1));
  const [first = []] = folders;
  const other = first.findIndex((name, i) => folders.some((each) => each[i] !== name));
  const shared = other < 0 ? first.length : other;
  const names = paths.map((path) => path.split("/").slice(shared).join("/"));
  if (names.every((name) => name.length <= longestName)) return names;
  const begin = sharedStart(names);
  return names.map((name) => middleCut(begin < 4 ? name : `…${name.slice(begin)}`));
}

/** How many characters all of them begin with. */
function sharedStart(names: readonly string[]): number {
  const [first = ""] = names;
  const other = [...first].findIndex((_, i) => names.some((name) => name[i] !== first[i]));
  return names.length < 2 || other < 0 ? 0 : other;
}

const middleCut = (name: string) =>
  name.length <= longestName ? name : `${name.slice(0, longestName / 2 - 1)}…${name.slice(-longestName / 2)}`;

/** A study's training is known by what it is: its file's name ends in digits. */
function lineName({ kind, method, task, seed }: ListedRun, name: string): string {
  if (kind === "study run") return `${method}, ${task}, seed ${seed}`;
  return kind === "search" ? `${name} (its tuning)` : name;
}

function Beside({ runs }: { readonly runs: readonly RunDetails[] }) {
  const courses = useMemo(() => {
    const names = shortNames(runs.map(({ run }) => run.path));
    return runs.map(({ run, events }, i) => ({ name: lineName(run, names[i]!), course: courseOf(events) }));
  }, [runs]);
  const charts = useCallback((axis: AxisName) => comparedCharts(courses, axis), [courses]);
  const differing = differences(runs);
  return (
    <>
      <Scroll label="scores and costs">
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
            {runs.map(({ run, result, outgrown }) => (
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
                <td class="n">{secondText(outgrown ? null : result?.cost.seconds)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      <Section title="Curves">
        <Charts of={charts} />
      </Section>
      {differing.length > 0 && (
        <Section title="Settings that differ">
          <Scroll label="settings that differ">
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
          </Scroll>
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
