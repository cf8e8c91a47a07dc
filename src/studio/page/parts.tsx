/** @file Small parts that the views share: notes, badges, figures, charts. */
import type { ComponentChildren } from "preact";
import { useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { LineChart } from "../../report/charts.js";
import { type AxisName, axisNames } from "../../report/curves.js";
import { plainNumber } from "../../report/format.js";
import { drawLineChart } from "../../report/svg.js";
import type { ToldError } from "../protocol.js";
import type { Refusal } from "./api.js";
import { StayContext } from "./state.js";

export function Problem({ error }: { readonly error: Refusal | null }) {
  return error === null ? null : (
    <p class="bad" role="alert">
      {error.message}
    </p>
  );
}

export function Told({ error }: { readonly error: ToldError }) {
  const { problem, where, expected, got, hint } = error;
  return (
    <div class="told bad" role="alert">
      <p>{where === undefined ? problem : `${where}: ${problem}`}</p>
      {expected !== undefined && <p>expected: {expected}</p>}
      {got !== undefined && <p>got: {typeof got === "string" ? got : JSON.stringify(got)}</p>}
      {hint !== undefined && <p>{hint}</p>}
    </div>
  );
}

export const Badge = ({ state }: { readonly state: string }) => <span class={`badge ${state}`}>{state}</span>;

/** A share of a whole as a bar. @param of null: how much is not known @param label for those who do not see what it stands beside */
export function Progress({
  done,
  of,
  label,
}: {
  readonly done: number;
  readonly of: number | null;
  readonly label: string;
}) {
  if (of === null || of === 0) return null;
  const share = Math.min(100, (100 * done) / of);
  return (
    <span
      class="progress"
      role="progressbar"
      aria-label={label}
      aria-valuenow={Math.round(share)}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <span style={`width:${share}%`} />
    </span>
  );
}

export function Tiles({ figures }: { readonly figures: readonly (readonly [value: string, label: string])[] }) {
  return (
    <div class="tiles">
      {figures.map(([value, label]) => (
        <div class="tile" key={label}>
          <b>{value}</b>
          <span>{label}</span>
        </div>
      ))}
    </div>
  );
}

/** Most values under the pointer that are written out. */
const mostRead = 6;

/** A chart that gives the values under the pointer, to the point that is nearest along x. */
export function Chart({ chart }: { readonly chart: LineChart }) {
  const drawn = useMemo(() => drawLineChart(chart), [chart]);
  const place = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState<number | null>(null);
  const { formatX = plainNumber, formatY = plainNumber } = chart;
  const moved = (event: PointerEvent) => {
    const svg = place.current?.querySelector("svg");
    if (drawn.axis === null || !svg) return;
    const { left, width } = svg.getBoundingClientRect();
    const { axis } = drawn;
    const pixel = ((event.clientX - left) / width) * drawn.width;
    const share = (pixel - axis.left) / (axis.right - axis.left);
    setAt(share < -0.05 || share > 1.05 ? null : axis.from + share * (axis.to - axis.from));
  };
  const read = at === null ? [] : chart.series.flatMap(({ name, points }) => nearestPoint(points, at, name));
  return (
    <figure class="chart">
      <div
        ref={place}
        onPointerMove={moved}
        onPointerLeave={() => setAt(null)}
        // svg.ts escapes every text
        dangerouslySetInnerHTML={{ __html: drawn.svg }}
      />
      {/* with room for what is to stand there, so that nothing below it moves */}
      <figcaption class="soft" style={`min-height:${1.5 * Math.ceil(Math.min(chart.series.length, mostRead) / 2)}em`}>
        {read
          .slice(0, mostRead)
          .map(({ name, x, y }) => `${name} ${formatY(y)} at ${formatX(x)}`)
          .join(" · ")}
        {read.length > mostRead && ` · and ${read.length - mostRead} more`}
      </figcaption>
    </figure>
  );
}

/** The point nearest along x; none where there is no point. */
export function nearestPoint(points: readonly (readonly [number, number])[], at: number, name: string) {
  let best: readonly [number, number] | null = null;
  for (const point of points)
    if (Number.isFinite(point[1]) && (best === null || Math.abs(point[0] - at) < Math.abs(best[0] - at))) best = point;
  return best === null ? [] : [{ name, x: best[0], y: best[1] }];
}

/** Charts with a switch for what they are drawn against. */
export function Charts({ of }: { readonly of: (axis: AxisName) => readonly LineChart[] }) {
  const [axis, setAxis] = useState<AxisName>("steps");
  const charts = useMemo(() => of(axis), [of, axis]);
  return (
    <>
      <Choice label="against" values={axisNames} value={axis} choose={setAxis} />
      <div class="charts">
        {charts.map((chart) => (
          <Chart chart={chart} key={chart.title} />
        ))}
      </div>
    </>
  );
}

/** One of a few words, as a row of buttons. */
export function Choice<T extends string>({
  label,
  values,
  value,
  choose,
}: {
  readonly label: string;
  readonly values: readonly T[];
  readonly value: T;
  readonly choose: (value: T) => void;
}) {
  return (
    <fieldset class="choice">
      <legend class="soft">{label}</legend>
      {values.map((one) => (
        <button type="button" key={one} aria-pressed={one === value} onClick={() => choose(one)}>
          {one}
        </button>
      ))}
    </fieldset>
  );
}

/** A field for words to find something by. */
export function Search({
  placeholder,
  label,
  words,
  set,
}: {
  readonly placeholder: string;
  readonly label: string;
  readonly words: string;
  readonly set: (words: string) => void;
}) {
  return (
    <input
      type="search"
      placeholder={placeholder}
      aria-label={label}
      value={words}
      onInput={(event) => set(event.currentTarget.value)}
    />
  );
}

/** The heading of a view. Where the place has just changed it takes the focus, so that reading and the Tab key begin there. */
export function Heading({
  unseen = false,
  children,
}: {
  readonly unseen?: boolean;
  readonly children: ComponentChildren;
}) {
  const { arrived } = useContext(StayContext);
  const at = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (!arrived.current) return;
    arrived.current = false;
    // whoever writes by now is not disturbed
    if (document.activeElement?.matches("input, select, textarea")) return;
    at.current?.focus({ preventScroll: true });
  }, [arrived]);
  return (
    <h1 tabIndex={-1} class={unseen ? "unseen" : ""} ref={at}>
      {children}
    </h1>
  );
}

/** What is wider or higher than its place: scrolled with the keys too. */
export function Scroll({
  label,
  tall = false,
  children,
}: {
  readonly label: string;
  readonly tall?: boolean;
  readonly children: ComponentChildren;
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard
    <section class={`scroll ${tall ? "tall" : ""}`} aria-label={label} tabIndex={0}>
      {children}
    </section>
  );
}

export function Section({ title, children }: { readonly title: string; readonly children: ComponentChildren }) {
  return (
    <section>
      <h2>{title}</h2>
      {children}
    </section>
  );
}
