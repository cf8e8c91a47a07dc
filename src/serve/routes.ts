/**
 * @file The routes of a server, as data: path, access, request and answer. In: limits. Out: the table that the application and
 * /openapi.json are made from.
 */
import type { ServerResponse } from "node:http";
import type { z } from "zod";
import { invalid } from "./api-error.js";
import { findModel, idOf, type ServerContext, stoppingHeaders } from "./context.js";
import type { Listed } from "./desk.js";
import type { Gauge } from "./metrics.js";
import { predictRows } from "./predict.js";
import {
  chatRequest,
  chatResponse,
  completionRequest,
  completionResponse,
  healthResponse,
  metricsResponse,
  modelResponse,
  modelsResponse,
  predictRequest,
  predictResponse,
  type RequestLimits,
} from "./schemas.js";
import { chat, complete } from "./write.js";

/** A route's answer: a body as JSON, a text, or null if it has already answered. */
export type Answered =
  | { readonly status?: number; readonly headers?: Readonly<Record<string, string>>; readonly json: object }
  | { readonly text: string; readonly type: string }
  | null;

/** One route. */
export interface Route {
  readonly method: "get" | "post";
  /** In OpenAPI's notation; `{id}` matches all of the rest. */
  readonly path: string;
  readonly summary: string;
  /** Answered without a token. Default false. */
  readonly open?: boolean;
  readonly request?: z.ZodType;
  /** Values of the query. */
  readonly parameters?: readonly {
    readonly name: string;
    readonly values: readonly string[];
    readonly summary: string;
  }[];
  /** A schema, or the media type of a text. */
  readonly response: z.ZodType | string;
  /** The media type of a text that may be answered in place of it. */
  readonly also?: string;
  /** A stream of chunks where the request says `stream: true`. */
  readonly streams?: boolean;
  answer(
    context: ServerContext,
    asked: {
      readonly body: unknown;
      readonly id: string;
      readonly response: ServerResponse;
      /** A value of the query; undefined where it is not there. */
      readonly query: (name: string) => string | undefined;
      /** The first of the supported media types that the Accept header prefers; the first of all without one. */
      readonly accepted: (supported: readonly string[]) => string;
    },
  ): Promise<Answered>;
}

/** All routes. */
export function routesOf(limits: RequestLimits, openapi: () => object): readonly Route[] {
  return [
    {
      method: "post",
      path: "/v1/predict",
      summary: "Labels and probabilities of inputs under an adapter's task",
      request: predictRequest(limits),
      response: predictResponse,
      answer: async (context, { body, response }) => ({ json: await predictRows(context, body as never, response) }),
    },
    {
      method: "post",
      path: "/v1/completions",
      summary: "Text that goes on from a prompt, as OpenAI has it",
      request: completionRequest(limits),
      response: completionResponse,
      streams: true,
      answer: async (context, { body, response }) => jsonOrSent(await complete(context, body as never, response)),
    },
    {
      method: "post",
      path: "/v1/chat/completions",
      summary:
        "An answer to a conversation in the model's own chat template, as OpenAI has it; decoder-only models alone",
      request: chatRequest(limits),
      response: chatResponse,
      streams: true,
      answer: async (context, { body, response }) => jsonOrSent(await chat(context, body as never, response)),
    },
    {
      method: "get",
      path: "/v1/models",
      summary: "The base model and its adapters",
      response: modelsResponse,
      answer: async (context) => ({
        json: { object: "list", data: context.desk.listed.map((listed) => modelOf(context, listed)) },
      }),
    },
    {
      method: "get",
      path: "/v1/models/{id}",
      summary: "One of them",
      response: modelResponse,
      answer: async (context, { id }) => ({ json: modelOf(context, findModel(context, id)) }),
    },
    {
      method: "get",
      path: "/health",
      summary: "Whether requests are taken: 200, or 503 while the model is opened, and when the server stops",
      open: true,
      response: healthResponse,
      answer: async (context) => health(context),
    },
    {
      method: "get",
      path: "/metrics",
      summary: "Counters in Prometheus' text format, or as JSON",
      parameters: [
        {
          name: "format",
          values: ["json", "text"],
          summary: "json is what Accept: application/json gives too; default text",
        },
      ],
      response: metricsResponse,
      also: metricsType,
      answer: async (context, asked) => metricsAnswer(context, asked),
    },
    {
      method: "get",
      path: "/openapi.json",
      summary: "This description",
      response: "application/json",
      answer: async () => ({ json: openapi() }),
    },
  ];
}

const jsonOrSent = (body: object | null): Answered => (body === null ? null : { json: body });

function modelOf(context: ServerContext, listed: Listed) {
  const { abilities, task, fields, labels, virtualTokens } = listed.facts;
  return {
    id: idOf(context, listed),
    object: "model",
    created: listed.created,
    owned_by: "softprompt",
    softprompt: { adapter: listed.name, abilities, task, fields, labels, virtual_tokens: virtualTokens },
  };
}

function health({ desk, stopping }: ServerContext): Answered {
  if (stopping()) return { status: 503, headers: stoppingHeaders, json: { status: "stopping" } };
  if (desk.state === "ready") return { json: { status: "ok" } };
  return { status: 503, json: { status: desk.state === "starting" ? "starting" : "failed" } };
}

type Asked = Parameters<Route["answer"]>[1];

const metricsType = "text/plain; version=0.0.4; charset=utf-8";
const jsonType = "application/json";

/** @throws ApiError 400 for a format that there is not. */
function metricsAnswer({ desk, metrics }: ServerContext, { query, accepted }: Asked): Answered {
  const format = query("format") ?? (accepted(["text/plain", jsonType]) === jsonType ? "json" : "text");
  if (format !== "json" && format !== "text") throw invalid("format: expected json or text", "format");
  const { waiting, running } = desk.rows;
  const gauges: Gauge[] = [
    { name: "softprompt_waiting", help: "Rows that wait.", value: waiting },
    { name: "softprompt_running", help: "Rows that are computed.", value: running },
    { name: "softprompt_adapters", help: "Adapters that are listed.", value: desk.listed.length - 1 },
    { name: "process_resident_memory_bytes", help: "Memory of the process.", value: process.memoryUsage.rss() },
  ];
  return format === "json" ? { json: metrics.families(gauges) } : { text: metrics.text(gauges), type: metricsType };
}
