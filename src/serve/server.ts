/**
 * @file A server for one frozen model and many adapters. In: the model's name, folders of adapters, options. Out: Server; the caller closes
 * it.
 */
import { existsSync } from "node:fs";
import { createServer, type Server as HttpServer, type IncomingMessage, STATUS_CODES } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, resolve } from "node:path";
import type { Duplex } from "node:stream";
import { getRequestListener } from "@hono/node-server";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { hubName } from "../base/hub-name.js";
import { type OptionValues, pickOptions, readOptions } from "../base/options.js";
import { adapterFolder } from "../tasks/adapter-place.js";
import { type CallContext, disposable, splitCall } from "../tasks/call.js";
import type { ModelEvent } from "../tasks/model.js";
import { ApiError } from "./api-error.js";
import { openApp } from "./app.js";
import { idOf, type ServerContext } from "./context.js";
import { Desk } from "./desk.js";
import { checkToken, isLoopback, openGuard, randomToken, readToken, tokenCheck } from "./guard.js";
import { openMetrics } from "./metrics.js";
import { openapiOf } from "./openapi.js";
import {
  headerBytes,
  mostConnections,
  type ServeOptions,
  type SocketLimits,
  servedModelOptions,
  serveOptions,
  socketLimits,
} from "./options.js";
import type { WarmingEvent } from "./protocol.js";
import { type Route, routesOf } from "./routes.js";
import { adapterName, openWatch } from "./watch.js";

/** Events of a running server: those of opening the model, and how far the first passes of a model or an adapter are. */
export type ServeEvent = ModelEvent | WarmingEvent;

/** Input of a server: any of serveOptions, those of opening a model, and the fields below. */
export interface ServeInput
  extends Partial<Omit<ServeOptions, "token">>,
    Partial<Omit<OptionValues<typeof servedModelOptions>, "model">>,
    CallContext<ServeEvent> {
  /** The base model: a folder, a GGUF file, a hub id, "t5-nano" or "t5-mini". */
  readonly model: string;
  /** Name → folder of an adapter, or of the run that made it; a hub id; a prompt alone as `.npy`. */
  readonly adapters?: Readonly<Record<string, string>> | undefined;
  /** A folder whose subfolders are adapters. New, changed and removed adapters are noticed. */
  readonly adaptersFolder?: string | undefined;
  /** Use adapters though the base model is not the recorded one. Default false. */
  readonly anyBase?: boolean | undefined;
  /** The token that requests must have; false for none, true for a random one. Default true. */
  readonly token?: boolean | string | undefined;
  /** Seconds that connections may take. Default socketLimits. */
  readonly sockets?: Partial<SocketLimits> | undefined;
  /** The program of the engine's thread. Default the package's own. */
  readonly engineModule?: string | undefined;
}

/** How a server ended. */
export interface Closed {
  /** Requests that were cut off. */
  readonly cut: number;
}

/** A running server: `await using` closes it at the end of its scope. */
export interface Server extends AsyncDisposable {
  /** Where it listens, e.g. http://127.0.0.1:8017. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** The token that requests must have; null if none is needed. */
  readonly token: string | null;
  /** Ids of what is listed now. */
  readonly models: readonly string[];
  /** Loads an adapter and lists it, in place of another of that name. @throws SoftpromptError "adapter": the old one stays. */
  add(name: string, folder: string): Promise<void>;
  /** Takes an adapter out; rows that run keep it until they end. @returns whether there was one. */
  remove(name: string): boolean;
  /**
   * Closes the server in order: new requests are refused, and running ones may end within `seconds` (default shutdownTimeout). Idempotent.
   */
  close(seconds?: number): Promise<Closed>;
  /** The same as close(): `await using`. */
  dispose(): Promise<void>;
  /** Settles when the server is closed; rejects if its engine died and was not restarted. */
  readonly closed: Promise<Closed>;
}

const contextKeys = [
  "model",
  "adapters",
  "adaptersFolder",
  "anyBase",
  "token",
  "sockets",
  "engineModule",
  "onEvent",
  "signal",
] as const;

/** Milliseconds between two checks whether everything has ended. */
const drainEvery = 20;

/**
 * Opens a model in a thread of its own, loads the adapters, and listens.
 * @throws SoftpromptError "usage" (an address without a token, a port that is taken), "checkpoint", "adapter", "network".
 */
export async function openServer(input: ServeInput): Promise<Server> {
  const { options: given, context: own } = splitCall<ServeInput>(input, contextKeys);
  const { model, adapters = {}, adaptersFolder, anyBase = false, onEvent = () => {}, signal } = own;
  const { model: _, ...ofModel } = servedModelOptions;
  const opened = readOptions(ofModel, pickOptions(ofModel, given), "openServer()");
  const rest = Object.fromEntries(Object.entries(given).filter(([key]) => !Object.hasOwn(ofModel, key)));
  const options = readOptions(serveOptions, rest, "openServer()");
  const token = tokenOf(options, own.token ?? options.token);
  if (!isLoopback(options.host)) checkPublic(options, token, typeof own.token === "string");
  const guard = openGuard(options);
  for (const [name, place] of Object.entries(adapters)) {
    checkName(name);
    checkAdapterPlace(name, place);
  }
  const metrics = openMetrics();
  const notice = (message: string) => onEvent({ kind: "notice", message });

  let stopping = false;
  let lose: (error: Error) => void = () => {};
  const desk = new Desk({
    start: {
      model,
      options: opened,
      batchSize: options.batchSize,
      writingRows: 4 * options.batchSize,
      maxInputTokens: options.maxPromptTokens,
      onlyLabels: options.onlyLabels,
    },
    mostRows: options.maxQueue,
    module: own.engineModule,
    onEvent: (event) => (event.kind === "batch" ? metrics.batch(event.what, event.rows) : onEvent(event)),
    onLost: (error) => lose(error),
  });
  const stopped = { kind: "interrupted", problem: "the server is stopping", where: "server" } as const;
  /** Taken out by the program: a watched folder that still has one of them does not bring it back. */
  const takenOut = new Set<string>();
  const add = async (name: string, folder: string) => {
    checkName(name);
    checkAdapterPlace(name, folder);
    const place = await adapterFolder(folder, { offline: opened.offline, onEvent, signal });
    await desk.add(name, { folder: resolve(place), anyBase });
    takenOut.delete(name);
  };
  const remove = (name: string): boolean => {
    const was = desk.remove(name);
    if (was) takenOut.add(name);
    return was;
  };
  let http: HttpServer | null = null;
  let watch: Awaited<ReturnType<typeof openWatch>> | null = null;
  const stop = () => void desk.kill();
  try {
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) throw interrupted(signal, "stopped before the server was open", { where: "serve" });
    await desk.open();
    for (const [name, folder] of Object.entries(adapters))
      await add(name, folder).catch((error) => {
        throw named(error, name, folder);
      });
    if (adaptersFolder !== undefined) {
      if (!existsSync(adaptersFolder))
        throw new SoftpromptError("adapter", "there is no such folder of adapters", {
          where: adaptersFolder,
          expected: "a folder with a folder for each adapter; it may be empty",
        });
      watch = await openWatch(adaptersFolder, {
        add,
        remove: (name) => void desk.remove(name),
        notice,
        taken: (name) => Object.hasOwn(adapters, name),
        has: (name) => takenOut.has(name) || desk.find(name) !== undefined,
      });
    }
    const sockets = { ...socketLimits, ...own.sockets };
    const context: ServerContext = {
      desk,
      options,
      sockets,
      metrics,
      served: servedName(options.served ?? desk.modelName),
      notice,
      stopping: () => stopping,
    };
    const routes: readonly Route[] = routesOf(options, () => openapiOf(routes, token !== null));
    const app = openApp(context, routes, { guard, checkToken: tokenCheck(token) });
    const server = createServer(
      {
        maxHeaderSize: headerBytes,
        headersTimeout: sockets.headers * 1000,
        requestTimeout: sockets.request * 1000,
        keepAliveTimeout: sockets.idle * 1000,
        connectionsCheckingInterval: Math.min(1000, sockets.headers * 250),
      },
      getRequestListener(app.fetch, {
        overrideGlobalObjects: false,
        // requests that the listener itself refuses before the application: an invalid Host or target
        errorHandler: () => Response.json(new ApiError(400, brokenText[400]!).body, { status: 400 }),
      }),
    );
    http = server;
    server.maxHeadersCount = 100;
    server.maxConnections = mostConnections;
    server.on("clientError", answerBroken);
    // nothing here changes protocol
    server.on("upgrade", (_request: IncomingMessage, socket: Duplex) => sayBroken(socket, 400));
    server.on("connect", (_request: IncomingMessage, socket: Duplex) => sayBroken(socket, 400));
    await listen(server, options);
    const { address, port } = server.address() as AddressInfo;

    let closing: Promise<Closed> | null = null;
    let lost: Error | null = null;
    const end = async (seconds: number): Promise<Closed> => {
      stopping = true;
      await watch?.close();
      desk.failWaiting(stopped);
      const until = performance.now() + seconds * 1000;
      const left = () => desk.rows.running + desk.rows.waiting;
      while (left() > 0 && performance.now() < until) {
        // it still listens: whoever comes now is told that the server stops
        await new Promise((tick) => setTimeout(tick, drainEvery));
      }
      const cut = left();
      const idle = new Promise<void>((done) => server.close(() => done()));
      server.closeIdleConnections();
      await desk.close({ ...stopped, problem: "the server stopped before this was whole" });
      // the last messages are still sent
      const late = setTimeout(() => server.closeAllConnections(), 1000);
      const idler = setInterval(() => server.closeIdleConnections(), drainEvery);
      await idle;
      clearTimeout(late);
      clearInterval(idler);
      return { cut };
    };
    const close = (seconds = options.shutdownTimeout) => {
      closing ??= end(seconds);
      return closing;
    };
    const closed = new Promise<Closed>((done, fail) => {
      server.on("close", () => void close().then((how) => (lost === null ? done(how) : fail(lost))));
      lose = (error) => {
        lost = error;
        void close(0);
      };
    });
    closed.catch(() => {});
    signal?.removeEventListener("abort", stop);
    signal?.addEventListener("abort", () => void close(), { once: true });
    if (signal?.aborted) void close();
    return disposable({
      url: `http://${address.includes(":") ? `[${address}]` : address}:${port}`,
      host: address,
      port,
      token,
      get models() {
        return desk.listed.map((listed) => idOf(context, listed));
      },
      add,
      remove,
      close,
      dispose: async () => void (await close()),
      closed,
    }) as Server;
  } catch (error) {
    signal?.removeEventListener("abort", stop);
    http?.close();
    await watch?.close();
    await desk.close(stopped);
    if (signal?.aborted) throw interrupted(signal, "stopped before the server was open", { where: "serve" });
    throw error;
  }
}

function tokenOf(options: Pick<ServeOptions, "tokenFile">, given: boolean | string): string | null {
  if (typeof given === "string") return checkToken(given, "token");
  if (options.tokenFile !== undefined) {
    if (given) return readToken(options.tokenFile);
    throw new SoftpromptError("usage", "a token is given and refused at once", {
      where: "--no-token, --token-file",
      expected: "one of them",
    });
  }
  return given ? randomToken() : null;
}

/** A server that other machines can reach must have a token that its owner chose. */
function checkPublic({ host, tokenFile }: ServeOptions, token: string | null, ownToken: boolean): void {
  if (token !== null && (tokenFile !== undefined || ownToken)) return;
  throw new SoftpromptError("usage", "other machines reach this address, so a token of your own is needed", {
    where: "--host",
    expected: "--token-file FILE (in a program, token), or an address of this machine alone, e.g. 127.0.0.1",
    got: host,
    hint: "the token goes over the network as it is: put a proxy with TLS before the server",
  });
}

function checkName(name: string): void {
  if (adapterName.test(name)) return;
  throw new SoftpromptError("usage", "this is no name for an adapter", {
    where: "--adapter",
    expected: "letters, digits, dots, dashes and underscores, at most 64, the first a letter or a digit",
    got: name,
  });
}

/** What a program gives for an adapter may be anything. */
function checkAdapterPlace(name: string, place: unknown): void {
  if (typeof place === "string" && place !== "") return;
  throw new SoftpromptError("usage", "this says no place of an adapter", {
    where: `adapter ${name}`,
    expected: "the path of its folder, or its hub id",
    got: typeof place === "string" ? "an empty text" : Array.isArray(place) ? "a list" : typeof place,
  });
}

/** The name of the base model in requests: its hub id, or the last part of a folder's path. */
function servedName(name: string): string {
  return (hubName(name)?.id ?? (existsSync(name) ? basename(resolve(name)) : name)).replaceAll(":", "-");
}

async function listen(server: HttpServer, { host, port }: ServeOptions): Promise<void> {
  await new Promise<void>((done, fail) => {
    server.once("error", (cause: NodeJS.ErrnoException) =>
      fail(
        new SoftpromptError(cause.code === "EADDRINUSE" ? "usage" : "io", "cannot listen there", {
          where: `${host}:${port}`,
          expected: "a free port of an address that this machine has",
          got: cause.code ?? cause.message,
          hint: cause.code === "EADDRINUSE" ? "give another --port; 0 takes a free one" : undefined,
          cause,
        }),
      ),
    );
    server.listen(port, host, () => done());
  });
}

/** Statuses of requests that the parser refuses. */
const brokenStatus: Readonly<Record<string, number>> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 };
const brokenText: Readonly<Record<number, string>> = {
  400: "this is no request that can be read",
  408: "the request did not come whole in time",
  431: `the headers are larger than ${headerBytes} bytes`,
};

/** Input that is not a valid HTTP request is answered in the same form. */
function answerBroken(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
  sayBroken(socket, brokenStatus[error.code ?? ""] ?? 400);
}

function sayBroken(socket: Duplex, status: number): void {
  const body = JSON.stringify(new ApiError(status, brokenText[status]!).body);
  socket.on("error", () => {});
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
  // a client that keeps its side of the connection open gets no further answer
  setTimeout(() => socket.destroy(), 1000).unref();
}

/** An error of one of several adapters: which it was. */
function named(error: unknown, name: string, folder: string): unknown {
  if (!(error instanceof SoftpromptError)) return error;
  const { where } = error.parts;
  const place = `adapter ${name} (${folder})`;
  return new SoftpromptError(error.kind, error.problem, {
    ...error.parts,
    where: where === undefined ? place : `${place}, ${where}`,
    cause: error,
  });
}
