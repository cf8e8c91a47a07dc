/**
 * @file POST /v1/predict: labels and probabilities. In: a checked request. Out: the answer's body.
 */
import type { ServerResponse } from "node:http";
import type { PredictInput } from "../tasks/predictor.js";
import { invalid } from "./api-error.js";
import { modelFor, type ServerContext, waitFor } from "./context.js";
import type { RowEvent } from "./protocol.js";
import type { PredictRequest } from "./schemas.js";

/**
 * Every input under every model that is named. Rows of one text are queued together, so that they share a batch: there a text that stands
 * before its virtual tokens is read once for all adapters.
 * @throws ApiError.
 */
export async function predictRows(context: ServerContext, request: PredictRequest, response: ServerResponse) {
  const several = Array.isArray(request.model);
  const models = several ? (request.model as string[]) : [request.model as string];
  const skills = models.map((model) => modelFor(context, model, "predict").skill);
  const inputs = (Array.isArray(request.input) ? request.input : [request.input]) as PredictInput[];
  const { maxRows } = context.options;
  if (inputs.length * models.length > maxRows)
    throw invalid(`${inputs.length} inputs under ${models.length} models are more than ${maxRows} rows`, "model");
  const rows = inputs.flatMap((input, i) =>
    models.map((model, m) => ({
      model,
      skill: skills[m]!,
      input,
      name: Array.isArray(request.input) ? `input[${i}]` : "input",
    })),
  );
  const answers = new Array<Extract<RowEvent, { kind: "answer" }>>(rows.length);
  await waitFor(
    context,
    rows.map(({ skill, input, name }) => ({ kind: "predict" as const, skill, input, name })),
    {
      response,
      paramOf: (row) => rows[row]!.name,
      hear: (row, event) => {
        if (event.kind === "answer") answers[row] = event;
      },
    },
  );
  const read = answers.reduce((sum, { tokens }) => sum + tokens, 0);
  for (const [row, { tokens }] of answers.entries()) context.metrics.tokens(rows[row]!.model, "read", tokens);
  return {
    object: "list" as const,
    model: request.model,
    data: answers.map(({ label, text, probabilities, truncated }, index) => ({
      object: "prediction" as const,
      index,
      ...(several ? { model: rows[index]!.model } : {}),
      label,
      text,
      probabilities,
      truncated,
    })),
    usage: { prompt_tokens: read, total_tokens: read },
  };
}
