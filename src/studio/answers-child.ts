/**
 * @file The process that answers the studio's questions: it holds one open model and the adapters that were asked.
 *
 * In: AnswerOrders by IPC, one after another. Out: AnswerReports. A process of its own, so that opening a model does not hold up the page,
 * and its memory is free when it ends.
 */
import { SoftpromptError } from "../base/errors.js";
import { pickOptions } from "../base/options.js";
import { compileTemplate } from "../data/template.js";
import { readAdapter } from "../tasks/adapter-place.js";
import { type OpenModel, openModel, openOptions } from "../tasks/model.js";
import { openPredictor, type Predictor } from "../tasks/predictor.js";
import type { AnswerOrder, AnswerReport } from "./answers-protocol.js";
import type { GivenAnswer } from "./protocol.js";

interface Opened {
  readonly key: string;
  readonly model: OpenModel;
  readonly predictor: Predictor;
  /** Adapters that are loaded → their stamps. */
  readonly stamps: Map<string, string>;
}

let opened: Opened | null = null;

async function openFor({ model, options }: AnswerOrder): Promise<Opened> {
  // a run's configuration says more than how its model is opened
  const how = pickOptions(openOptions, options);
  const key = JSON.stringify([model, how]);
  if (opened?.key === key) return opened;
  await opened?.model.dispose();
  opened = null;
  const own = await openModel(model, how);
  opened = { key, model: own, predictor: await openPredictor(own, { adapters: {} }), stamps: new Map() };
  return opened;
}

/** No path has such a character. */
const frozenName = (path: string) => `frozen\0${path}`;

async function load(
  { predictor, stamps }: Opened,
  { path, folder, stamp }: AnswerOrder["adapters"][number],
): Promise<void> {
  if (stamps.get(path) === stamp) return;
  const adapter = readAdapter(folder);
  await predictor.add(path, adapter);
  const settings = adapter.training?.settings ?? {};
  const { evaluateBy, ranking, maxInputTokens } = settings as Record<string, never>;
  await predictor.add(frozenName(path), {
    ...{ adapter: null, task: predictor.task(path), maxInputTokens },
    ...(evaluateBy === "generation" ? { evaluateBy } : { ranking }),
  });
  stamps.set(path, stamp);
}

const failure = (error: unknown): string => {
  if (!(error instanceof SoftpromptError)) throw error;
  return error.message;
};

const none = { label: null, text: "", probabilities: null, truncated: false };

async function answer(order: AnswerOrder): Promise<readonly GivenAnswer[]> {
  const own = await openFor(order);
  const given: GivenAnswer[] = [];
  const asked: { path: string; frozen: boolean; name: string; input: Record<string, string> }[] = [];
  for (const adapter of order.adapters) {
    const { path } = adapter;
    try {
      await load(own, adapter);
      const { fields } = compileTemplate(own.predictor.task(path).template);
      const input = Object.fromEntries(
        fields.map((field) => [field, Object.hasOwn(order.input, field) ? order.input[field]! : ""]),
      );
      asked.push({ path, frozen: false, name: path, input });
      if (order.frozen) asked.push({ path, frozen: true, name: frozenName(path), input });
    } catch (error) {
      given.push({ path, frozen: false, ...none, error: failure(error) });
    }
  }
  const answers = await own.predictor.predict(
    asked.map(({ name, input }) => ({ adapter: name, input, name: "the input" })),
    { skipBadRows: true },
  );
  return [
    ...given,
    ...answers.map(({ label, text, probabilities, truncated = false, error }, i) => {
      const { path, frozen } = asked[i]!;
      return { path, frozen, label, text, probabilities, truncated, error: error?.message ?? null };
    }),
  ];
}

const tell = (report: AnswerReport) => process.send?.(report);

let last: Promise<void> = Promise.resolve();
process.on("message", (message) => {
  const order = message as AnswerOrder;
  last = last.then(async () => {
    try {
      tell({ id: order.id, answers: await answer(order), model: order.model });
    } catch (error) {
      if (!(error instanceof SoftpromptError)) throw error;
      tell({ id: order.id, problem: error.message });
    }
  });
});
// the studio is gone
process.on("disconnect", () => process.exit(0));
// the studio decides when it ends; Ctrl-C in the terminal reaches it too
process.on("SIGINT", () => {});
