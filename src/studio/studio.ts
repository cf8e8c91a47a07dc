/**
 * @file The studio: a web page for this machine's user that shows runs as they train, starts and stops commands, and tries prompts.
 *
 * In: a folder of runs, how softprompt is started, its commands as option tables. Out: Studio; the caller closes it. It listens on
 * 127.0.0.1 alone: another machine reaches it through a tunnel (`ssh -L`).
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { resolve } from "node:path";
import { getRequestListener } from "@hono/node-server";
import { interrupted, SoftpromptError } from "../base/errors.js";
import { ioError } from "../base/files.js";
import { readOptions } from "../base/options.js";
import { openGuard, randomToken, tokenCheck } from "../serve/guard.js";
import { type CallContext, disposable, type NoticeEvent } from "../tasks/call.js";
import { Answering } from "./answers.js";
import { openStudioApp } from "./app.js";
import type { StudioCommands } from "./commands.js";
import { Jobs } from "./jobs.js";
import { type StudioOptions, studioOptions } from "./options.js";
import type { Program } from "./program.js";

export interface StudioInput extends Partial<StudioOptions>, CallContext<NoticeEvent> {
  /** Folder of the runs; it need not exist yet. */
  readonly folder: string;
  /** How softprompt is started. */
  readonly program: Program;
  readonly commands: StudioCommands;
  /** The program of the process that answers. Default the package's own. */
  readonly answersModule?: string | undefined;
}

/** A running studio: `await using` closes it at the end of its scope. */
export interface Studio extends AsyncDisposable {
  /** Its address with the token, for a browser. */
  readonly address: string;
  /** Its address alone. */
  readonly url: string;
  readonly token: string;
  /** Stops what runs, waits until it has saved, and closes. Idempotent. */
  close(): Promise<void>;
  /** Settles when the studio is closed. */
  readonly closed: Promise<void>;
  /** Commands that have not ended. */
  readonly busy: number;
}

const host = "127.0.0.1";

/** @throws SoftpromptError "io" where the port is taken; "interrupted". */
export async function openStudio({
  folder,
  program,
  commands,
  answersModule,
  onEvent = () => {},
  signal,
  ...given
}: StudioInput): Promise<Studio> {
  const options = readOptions(studioOptions, given, "openStudio()");
  if (signal?.aborted) throw interrupted(signal, "stopped before the studio was open", { where: "studio" });
  const token = randomToken();
  const ending = new AbortController();
  const jobs = new Jobs(program, options.jobs);
  const answering = new Answering(answersModule);
  const server = createServer();
  await listen(server, options.port);
  if (signal?.aborted) {
    server.close();
    throw interrupted(signal, "stopped before the studio was open", { where: "studio" });
  }
  const { port } = server.address() as AddressInfo;
  const url = `http://${host}:${port}`;
  const app = openStudioApp({
    ...{ folder: resolve(folder), readOnly: options.readOnly, program, commands, jobs, answering, token },
    guard: openGuard({
      ...{ host, allowedHost: [], corsOrigin: [url, `http://localhost:${port}`] },
      more: { host: `open ${url}`, origin: `open ${url}, through a tunnel with the same port at both ends` },
    }),
    checkToken: tokenCheck(token),
    // a browser sends a cookie of 127.0.0.1 to every port of it
    cookie: `softprompt-studio-${port}`,
    signal: ending.signal,
    notice: (message) => onEvent({ kind: "notice", message }),
  });
  server.on("request", getRequestListener(app.fetch, { overrideGlobalObjects: false }));
  let closing: Promise<void> | null = null;
  const end = async () => {
    ending.abort();
    signal?.removeEventListener("abort", onAbort);
    answering.close();
    await jobs.close();
    const closed = new Promise<void>((done) => server.close(() => done()));
    server.closeAllConnections();
    await closed;
  };
  const close = () => {
    closing ??= end();
    return closing;
  };
  const onAbort = () => void close();
  const closed = new Promise<void>((done) => server.on("close", done));
  signal?.addEventListener("abort", onAbort, { once: true });
  return disposable({
    address: `${url}/?token=${token}`,
    url,
    token,
    close,
    closed,
    get busy() {
      return jobs.list.filter((job) => job.ended === null).length;
    },
    dispose: close,
  });
}

async function listen(server: ReturnType<typeof createServer>, port: number): Promise<void> {
  await new Promise<void>((done, fail) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      if (cause.code !== "EADDRINUSE") return fail(ioError(cause, `port ${port}`));
      fail(
        new SoftpromptError("io", "the port is taken", {
          where: `port ${port}`,
          hint: "another studio may be open: use that, or --port 0",
          cause,
        }),
      );
    });
    server.listen(port, host, done);
  });
}
