/**
 * @file Metrics of a server. In: events. Out: Prometheus' text format, or the same values as plain data.
 *
 * Labels come only from closed lists (routes, listed models, statuses). A label taken from a request would make a new series for every
 * typo.
 */

type Labels = Readonly<Record<string, string>>;

/** Upper bounds of histograms, in seconds and in rows. */
const secondsBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;
const rowsBounds = [1, 2, 4, 8, 16, 32, 64, 128] as const;

const special = /[\\"\n]/g;
const escaped = (text: string) => text.replace(special, (sign) => (sign === "\n" ? "\\n" : `\\${sign}`));
const labelled = (labels: Labels) => {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
};

/** A value under labels; of a histogram how many values are at most each bound, in ascending order, their sum and their number. */
export type Sample =
  | { readonly labels: Labels; readonly value: number }
  | {
      readonly labels: Labels;
      readonly buckets: readonly { readonly le: string; readonly count: number }[];
      readonly sum: number;
      readonly count: number;
    };

/** Values of one name. */
export interface Family {
  readonly type: "counter" | "histogram" | "gauge";
  readonly help: string;
  readonly values: readonly Sample[];
}

class Counter {
  readonly #values = new Map<string, { readonly labels: Labels; value: number }>();
  constructor(private readonly help: string) {}
  add(labels: Labels, by = 1): void {
    const key = labelled(labels);
    const series = this.#values.get(key) ?? { labels, value: 0 };
    this.#values.set(key, series);
    series.value += by;
  }
  get family(): Family {
    return { type: "counter", help: this.help, values: [...this.#values.values()] };
  }
}

class Histogram {
  readonly #series = new Map<
    string,
    { readonly labels: Labels; readonly counts: number[]; sum: number; count: number }
  >();
  constructor(
    private readonly help: string,
    private readonly bounds: readonly number[],
  ) {}
  see(labels: Labels, value: number): void {
    const key = labelled(labels);
    const series = this.#series.get(key) ?? { labels, counts: this.bounds.map(() => 0), sum: 0, count: 0 };
    this.#series.set(key, series);
    for (const [i, bound] of this.bounds.entries()) if (value <= bound) series.counts[i]!++;
    series.sum += value;
    series.count++;
  }
  get family(): Family {
    const values = [...this.#series.values()].map(({ labels, counts, sum, count }) => {
      const buckets = this.bounds.map((bound, i) => ({ le: String(bound), count: counts[i]! }));
      return { labels, buckets: [...buckets, { le: "+Inf", count }], sum, count };
    });
    return { type: "histogram", help: this.help, values };
  }
}

/** A family in Prometheus' text format. */
function linesOf(name: string, { type, help, values }: Family): string[] {
  const samples = values.flatMap((sample) => {
    const { labels } = sample;
    if ("value" in sample) return [`${name}${labelled(labels)} ${sample.value}`];
    return [
      ...sample.buckets.map(({ le, count }) => `${name}_bucket${labelled({ ...labels, le })} ${count}`),
      `${name}_sum${labelled(labels)} ${sample.sum}`,
      `${name}_count${labelled(labels)} ${sample.count}`,
    ];
  });
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...samples];
}

/** A number as it is when asked for. */
export interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly value: number;
}

/** The counters of one server. */
export function openMetrics() {
  const requests = new Counter("Requests by route and status.");
  const seconds = new Histogram("Time until a request was answered whole.", secondsBounds);
  const tokens = new Counter("Tokens read and written, by model.");
  const batches = new Histogram("Rows that were computed together.", rowsBounds);
  const families = (gauges: readonly Gauge[]): Readonly<Record<string, Family>> => ({
    softprompt_requests_total: requests.family,
    softprompt_request_seconds: seconds.family,
    softprompt_tokens_total: tokens.family,
    softprompt_batch_rows: batches.family,
    ...Object.fromEntries(
      gauges.map(({ name, help, value }) => [name, { type: "gauge", help, values: [{ labels: {}, value }] }]),
    ),
  });
  return {
    request(route: string, status: number, duration: number): void {
      requests.add({ route, status: String(status) });
      seconds.see({ route }, duration);
    },
    tokens(model: string, direction: "read" | "written", count: number): void {
      tokens.add({ model, direction }, count);
    },
    batch(what: string, rows: number): void {
      batches.see({ what }, rows);
    },
    /** By name; the same values as `text`. */
    families,
    text(gauges: readonly Gauge[]): string {
      const lines = Object.entries(families(gauges)).flatMap(([name, family]) => linesOf(name, family));
      return `${lines.join("\n")}\n`;
    },
  };
}

/** See openMetrics. */
export type Metrics = ReturnType<typeof openMetrics>;
