/**
 * @file POST /v1/predict: labels and probabilities. In: a checked request. Out: the answer's body.
 */
import type { ServerResponse } from "node:http";
import type { PredictInput } from "../tasks/predictor.js";
import { modelFor, type ServerContext, waitFor } from "./context.js";
import type { RowEvent } from "./protocol.js";
import type { PredictRequest } from "./schemas.js";

/** @throws ApiError. */
export async function predictRows(context: ServerContext, request: PredictRequest, response: ServerResponse) {
  const { skill } = modelFor(context, request.model, "predict");
  const inputs = (Array.isArray(request.input) ? request.input : [request.input]) as PredictInput[];
  const nameOf = (row: number) => (Array.isArray(request.input) ? `input[${row}]` : "input");
  const answers = new Array<Extract<RowEvent, { kind: "answer" }>>(inputs.length);
  const rows = inputs.map((input, row) => ({ kind: "predict" as const, skill, input, name: nameOf(row) }));
  await waitFor(context, rows, {
    response,
    paramOf: nameOf,
    hear: (row, event) => {
      if (event.kind === "answer") answers[row] = event;
    },
  });
  const read = answers.reduce((sum, { tokens }) => sum + tokens, 0);
  context.metrics.tokens(request.model, "read", read);
  return {
    object: "list" as const,
    model: request.model,
    data: answers.map(({ label, text, probabilities, truncated }, index) => ({
      object: "prediction" as const,
      index,
      label,
      text,
      probabilities,
      truncated,
    })),
    usage: { prompt_tokens: read, total_tokens: read },
  };
}
