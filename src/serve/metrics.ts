/**
 * @file Metrics of a server in Prometheus' text format. In: events. Out: text.
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

class Counter {
  readonly #values = new Map<string, number>();
  constructor(
    private readonly name: string,
    private readonly help: string,
  ) {}
  add(labels: Labels, by = 1): void {
    const key = labelled(labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + by);
  }
  lines(): string[] {
    const values = [...this.#values].map(([labels, value]) => `${this.name}${labels} ${value}`);
    return [`# HELP ${this.name} ${this.help}`, `# TYPE ${this.name} counter`, ...values];
  }
}

class Histogram {
  readonly #series = new Map<
    string,
    { readonly labels: Labels; readonly counts: number[]; sum: number; count: number }
  >();
  constructor(
    private readonly name: string,
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
  lines(): string[] {
    const values = [...this.#series.values()].flatMap(({ labels, counts, sum, count }) => [
      ...this.bounds.map((bound, i) => `${this.name}_bucket${labelled({ ...labels, le: String(bound) })} ${counts[i]}`),
      `${this.name}_bucket${labelled({ ...labels, le: "+Inf" })} ${count}`,
      `${this.name}_sum${labelled(labels)} ${sum}`,
      `${this.name}_count${labelled(labels)} ${count}`,
    ]);
    return [`# HELP ${this.name} ${this.help}`, `# TYPE ${this.name} histogram`, ...values];
  }
}

/** A number as it is when asked for. */
export interface Gauge {
  readonly name: string;
  readonly help: string;
  readonly value: number;
}

/** The counters of one server. */
export function openMetrics() {
  const requests = new Counter("softprompt_requests_total", "Requests by route and status.");
  const seconds = new Histogram(
    "softprompt_request_seconds",
    "Time until a request was answered whole.",
    secondsBounds,
  );
  const tokens = new Counter("softprompt_tokens_total", "Tokens read and written, by model.");
  const batches = new Histogram("softprompt_batch_rows", "Rows that were computed together.", rowsBounds);
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
    text(gauges: readonly Gauge[]): string {
      const now = gauges.flatMap(({ name, help, value }) => [
        `# HELP ${name} ${help}`,
        `# TYPE ${name} gauge`,
        `${name} ${value}`,
      ]);
      return `${[...requests.lines(), ...seconds.lines(), ...tokens.lines(), ...batches.lines(), ...now].join("\n")}\n`;
    },
  };
}

/** See openMetrics. */
export type Metrics = ReturnType<typeof openMetrics>;
