/** @file Requests to the studio. In: what is asked. Out: its JSON, or a Refusal. */
import type {
  Answers,
  Form,
  JobState,
  PredictionsPage,
  Preview,
  PromptWordsAnswer,
  Question,
  RunDetails,
  StudioState,
} from "../protocol.js";

/** A request that was answered by an error; `status` 0: the studio cannot be reached. 401: it was started again. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** The field of the request that is wrong. */
    readonly param: string | null = null,
  ) {
    super(message);
  }
}

async function request<T>(path: string, init?: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new Refusal(0, "the studio cannot be reached: was it ended?");
  }
  const body = await response.json().catch(() => null);
  if (response.ok) return body as T;
  if (response.status === 401)
    throw new Refusal(
      401,
      "this studio does not know this page, perhaps because it was started again: open the address that `softprompt studio` told when it was started",
    );
  const told = (body as { error?: { message?: string; param?: string | null } } | null)?.error;
  throw new Refusal(response.status, told?.message ?? `the studio answered ${response.status}`, told?.param ?? null);
}

const ask = <T>(path: string, query: Readonly<Record<string, string>> = {}) =>
  request<T>(`${path}?${new URLSearchParams(query)}`);

const post = <T>(path: string, body: unknown) =>
  request<T>(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });

/** Everything the page asks for. */
export const api = {
  state: () => ask<StudioState>("/api/state"),
  forms: () => ask<readonly Form[]>("/api/forms"),
  run: (path: string, after = 0, generation = "") =>
    ask<RunDetails>("/api/run", { path, after: String(after), generation }),
  predictions: (path: string, wrong: boolean, from = 0) =>
    ask<PredictionsPage>("/api/predictions", { path, wrong: String(wrong), from: String(from) }),
  words: (path: string) => ask<PromptWordsAnswer>("/api/words", { path }),
  start: (command: string, options: unknown) => post<JobState>("/api/jobs", { command, options }),
  stopJob: (id: string) => post<unknown>(`/api/jobs/${id}/stop`, {}),
  forgetJob: (id: string) => post<unknown>(`/api/jobs/${id}/forget`, {}),
  stopRun: (path: string) => post<unknown>("/api/stop", { path }),
  preview: (options: unknown) => post<Preview>("/api/preview", { options }),
  answers: (question: Question) => post<Answers>("/api/answers", question),
  closeAnswers: () => post<unknown>("/api/answers/close", {}),
};

/** Address of a file of a run. */
export const fileAddress = (path: string, name: string) =>
  `/files/${[...path.split("/"), name].map(encodeURIComponent).join("/")}`;
