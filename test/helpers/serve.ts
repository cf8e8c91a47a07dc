/**
 * @file A server for tests: the engine's thread as a program of its own, adapters on disk with prompts that show when they are mixed up.
 */
import { mkdtempSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { saveAdapter } from "../../src/adapter/adapter.js";
import type { Adapter } from "../../src/adapter/types.js";
import { random } from "../../src/base/random.js";
import type { Task } from "../../src/data/row.js";
import { openServer, type ServeInput, type Server } from "../../src/serve/server.js";
import { bundle } from "./bundle.js";

let worker: Promise<string> | undefined;

/** Starts a server on a free port. */
export async function startServer(input: Partial<ServeInput> = {}): Promise<Server> {
  worker ??= bundle("src/serve/worker.ts");
  return openServer({ model: "t5-nano", port: 0, threads: 1, engineModule: await worker, ...input });
}

/** A prompt of a large norm: forgotten, shifted or mixed up, it shows. */
export function promptAdapter(
  task: Task | null,
  { tokens, seed, width = 128, family = "t5" }: { tokens: number; seed: number; width?: number; family?: string },
): Adapter {
  const draw = random(seed, "serve");
  return {
    prompt: { shape: [tokens, width], data: Float32Array.from({ length: tokens * width }, () => draw.uniform(-3, 3)) },
    mask: null,
    base: { name: "", revision: null, sha256: null, family, width, layers: null, heads: null },
    tokenizer: null,
    task,
    training: null,
    scores: null,
    kept: { config: {}, extras: {} },
  };
}

/** Saves it in a folder. @returns the folder */
export function saved(adapter: Adapter, folder = mkdtempSync(join(tmpdir(), "softprompt-served-"))): string {
  saveAdapter(folder, adapter);
  return folder;
}

/** Asks a server. @returns the body as T, unchecked: tests say what they expect of it. */
export async function ask<
  T = { readonly error: { message: string; type: string; param: string | null; code: string | null } },
>(
  { url, token }: Pick<Server, "url" | "token">,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; json: T }> {
  const response = await fetch(`${url}${path}`, {
    method: body === undefined ? "GET" : "POST",
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  let json: unknown = text;
  if (response.headers.get("content-type")?.includes("json")) json = JSON.parse(text);
  return { status: response.status, headers: response.headers, json: json as T };
}

/** The events of a stream, as they are framed. */
export async function streamed(server: Pick<Server, "url" | "token">, path: string, body: object): Promise<string[]> {
  const { json } = await ask<string>(server, path, { ...body, stream: true });
  return json.split("\n\n").filter((event) => event !== "");
}

/** What a server says to bytes as they stand. */
export function raw(
  { host, port }: Pick<Server, "host" | "port">,
  text: string,
  more: readonly (readonly [number, string])[] = [],
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, host);
    let answer = "";
    socket.on("data", (bytes) => {
      answer += bytes;
    });
    socket.on("close", () => resolve(answer));
    socket.on("error", (error) => (answer === "" ? reject(error) : resolve(answer)));
    socket.write(text);
    for (const [after, bytes] of more) setTimeout(() => socket.writable && socket.write(bytes), after);
  });
}

/** A request with headers that fetch does not send. */
export function plain(
  { host, port }: Pick<Server, "host" | "port">,
  options: { path: string; method?: string; headers?: Record<string, string>; body?: string },
): Promise<{ status: number; text: string; headers: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { host, port, path: options.path, method: options.method ?? "GET", headers: options.headers ?? {} },
      (response) => {
        let text = "";
        response.on("data", (bytes) => {
          text += bytes;
        });
        response.on("end", () => resolve({ status: response.statusCode!, text, headers: response.headers }));
      },
    );
    sent.on("error", reject);
    sent.end(options.body);
  });
}
