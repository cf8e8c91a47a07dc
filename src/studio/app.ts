/**
 * @file The studio's application: its page, and what the page asks under /api. It checks access first. In: StudioContext. Out: a Hono app.
 *
 * The page's own address holds a token once; the answer keeps it in a cookie that no other site's page can send. A page of another port of
 * this machine can: the browser says so, and it is refused. A request that changes something must be JSON, which no other page can send
 * either, and must come from this origin.
 */
import { existsSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { basename, join, resolve } from "node:path";
import type { HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type Context, Hono } from "hono";
import { generateCookie, getCookie } from "hono/cookie";
import { z } from "zod";
import { bundledNames } from "../base/bundled.js";
import { SoftpromptError } from "../base/errors.js";
import { ioError, readWhole } from "../base/files.js";
import { packageFile, packageInfo } from "../base/package.js";
import { reportStyle } from "../report/page.js";
import { fileNames } from "../run/layout.js";
import { ApiError, invalid } from "../serve/api-error.js";
import { checkBodyHeaders, checked, readBody } from "../serve/body.js";
import type { openGuard, tokenCheck } from "../serve/guard.js";
import type { ListedRun } from "../study/run-list.js";
import type { Answering } from "./answers.js";
import { checkBefore, formOf, orderOf, type StudioCommands, startedNames, tableOf, wordsOf } from "./commands.js";
import { openEventLogs } from "./event-log.js";
import type { Jobs } from "./jobs.js";
import { openListing } from "./listing.js";
import { innerPath } from "./paths.js";
import { askProgram, type Program } from "./program.js";
import type { PredictionsPage, Preview, PromptWordsAnswer, Question, RunDetails, StudioState } from "./protocol.js";
import { predictionsPage, runDetails, runOptions } from "./run-details.js";

export interface StudioContext {
  readonly folder: string;
  readonly readOnly: boolean;
  readonly program: Program;
  readonly commands: StudioCommands;
  readonly jobs: Jobs;
  readonly answering: Answering;
  readonly guard: ReturnType<typeof openGuard>;
  readonly token: string;
  readonly checkToken: ReturnType<typeof tokenCheck>;
  readonly cookie: string;
  /** Aborted when the studio closes. */
  readonly signal: AbortSignal;
  readonly notice: (message: string) => void;
}

type Env = { Bindings: HttpBindings };

const mostBody = 2 ** 20;

/** Nothing from elsewhere; bars have their widths as inline styles. */
const pagePolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/** A report is made of a user's texts: it may do nothing at all. */
const reportPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/** Files of a run that the page links to, and what they are. */
const runFiles: Readonly<Record<string, string>> = {
  [fileNames.report]: "text/html; charset=utf-8",
  [fileNames.config]: "text/plain; charset=utf-8",
  [fileNames.result]: "application/json",
  [fileNames.predictions]: "text/plain; charset=utf-8",
  [fileNames.summary]: "text/plain; charset=utf-8",
  [fileNames.best]: "text/plain; charset=utf-8",
};

const values = z.record(z.string(), z.unknown());
const bodies = {
  job: z.object({ command: z.enum(startedNames), options: values }),
  preview: z.object({ options: values }),
  stop: z.object({ path: z.string() }),
  question: z.object({
    paths: z.array(z.string()).min(1).max(16),
    input: z.record(z.string(), z.string().max(1_000_000)),
    frozen: z.boolean(),
  }) satisfies z.ZodType<Question>,
  none: z.object({}),
};

export function openStudioApp(context: StudioContext): Hono<Env> {
  const { folder, jobs, answering, program, commands } = context;
  const app = new Hono<Env>();
  const runs = openListing(folder);
  const log = openEventLogs();
  /** Processes of others that were asked to stop, and where they work. */
  const askedToStop = new Set<string>();

  app.use("*", async (c, next) => {
    const { headers } = c.env.incoming;
    context.guard.checkHost(headers.host);
    context.guard.checkOrigin(headers.origin);
    // a page of another port is of the same site: its requests have the cookie, and those for images and scripts no Origin
    if (c.req.path !== "/" && /^(same|cross)-site$/.test(String(headers["sec-fetch-site"])))
      throw new ApiError(403, "pages of another origin may not ask", { code: "origin_not_allowed" });
    for (const [name, value] of Object.entries(shared)) c.env.outgoing.setHeader(name, value);
    const given = c.req.path === "/" ? c.req.query("token") : undefined;
    if (given !== undefined) {
      context.checkToken(`Bearer ${given}`);
      const cookie = { httpOnly: true, sameSite: "Strict", path: "/" } as const;
      c.env.outgoing.setHeader("set-cookie", generateCookie(context.cookie, context.token, cookie));
      // the page itself, which takes the token out of its address: behind a redirect that another program's page began, the cookie is not sent
      return next();
    }
    const kept = getCookie(c, context.cookie);
    context.checkToken(kept === undefined ? headers.authorization : `Bearer ${kept}`);
    return next();
  });

  app.get("/", () => page("index.html", "text/html; charset=utf-8"));
  app.get("/page.js", () => page("page.js", "text/javascript; charset=utf-8"));
  app.get("/style.css", () => text(`${reportStyle}\n${pageFile("style.css")}`, "text/css; charset=utf-8"));

  app.get("/api/state", (c) =>
    c.json({
      ...{ version: packageInfo().version, folder, cwd: program.cwd, readOnly: context.readOnly },
      bundled: bundledNames,
      ...{ runs: runs.all(), jobs: jobs.list },
    } satisfies StudioState),
  );

  app.get("/api/forms", (c) => c.json(startedNames.map((name) => formOf(name, commands[name]))));

  app.get("/api/run", (c) => {
    const run = runAt(c);
    const asked = { after: countIn(c, "after"), generation: c.req.query("generation") ?? null };
    return c.json(runDetails(run, innerPath(folder, run.path), { log, ...asked }) satisfies RunDetails);
  });

  app.get("/api/predictions", (c) => {
    const path = innerPath(folder, runAt(c).path);
    const asked = { wrong: c.req.query("wrong") === "true", from: countIn(c, "from") };
    return c.json(predictionsPage(path, asked) satisfies PredictionsPage);
  });

  app.get("/api/words", async (c) => {
    const run = runAt(c);
    const path = innerPath(folder, run.path);
    const options = runOptions(run, path);
    const model = typeof options.model === "string" ? ["--model", options.model] : [];
    const words = await askProgram(program, ["show", path, "--nearest", ...model], context.signal);
    return c.json(words as PromptWordsAnswer);
  });

  app.get("/files/:path{.+}", (c) => {
    const shown = c.req.param("path");
    const type = Object.hasOwn(runFiles, basename(shown)) ? runFiles[basename(shown)] : undefined;
    if (type === undefined) throw new ApiError(404, "there is no such file", { code: "not_found" });
    const bytes = readWhole(innerPath(folder, shown), "run")!;
    return new Response(new Uint8Array(bytes), {
      headers: { "content-type": type, "content-security-policy": reportPolicy },
    });
  });

  app.post("/api/jobs", async (c) => {
    const { command, options } = await bodyOf(c, bodies.job);
    changing();
    await checkBefore(commands[command], options);
    return c.json(jobs.add(orderOf(context, command, options)));
  });

  app.post("/api/jobs/:id/stop", async (c) => {
    await bodyOf(c, bodies.none);
    changing();
    if (!jobs.stop(c.req.param("id"))) throw new ApiError(404, "no such command is running", { code: "not_found" });
    return c.json({});
  });

  app.post("/api/jobs/:id/forget", async (c) => {
    await bodyOf(c, bodies.none);
    changing();
    if (!jobs.forget(c.req.param("id"))) throw new ApiError(404, "no such command has ended", { code: "not_found" });
    return c.json({});
  });

  // a run that another terminal began, or this studio before it was started again
  app.post("/api/stop", async (c) => {
    const { path } = await bodyOf(c, bodies.stop);
    changing();
    stopRun(path);
    return c.json({});
  });

  app.post("/api/preview", async (c) => {
    const { options } = await bodyOf(c, bodies.preview);
    const table = tableOf(commands.show);
    const known = Object.fromEntries(Object.entries(options).filter(([key]) => Object.hasOwn(table, key)));
    return c.json((await askProgram(program, ["show", ...wordsOf(table, known)], context.signal)) as Preview);
  });

  app.post("/api/answers", async (c) => {
    const { paths, input, frozen } = await bodyOf(c, bodies.question);
    const asked = paths.map((path) => {
      const found = runs.find(path);
      const inside = innerPath(folder, found.path);
      const options = runOptions(found, inside);
      const model = typeof options.model === "string" ? options.model : found.model;
      if (model === null) throw invalid(`paths: ${path} does not say its base model`, "paths");
      if (!existsSync(join(inside, fileNames.adapter))) throw invalid(`paths: ${path} has no adapter yet`, "paths");
      return { path, folder: inside, model: baseModel(program.cwd, model), options };
    });
    return c.json(await answering.ask(asked, input, frozen));
  });

  app.post("/api/answers/close", async (c) => {
    await bodyOf(c, bodies.none);
    answering.close();
    return c.json({});
  });

  app.notFound(() => {
    throw new ApiError(404, "there is no such path", { code: "not_found" });
  });
  app.onError((error, c) => {
    if (c.env.outgoing.destroyed) return RESPONSE_ALREADY_SENT;
    const told =
      error instanceof ApiError
        ? error
        : error instanceof SoftpromptError
          ? new ApiError(422, error.message, { code: error.kind })
          : new ApiError(500, "the studio has a bug; its terminal has the details", { code: "bug" });
    if (told.status === 500) context.notice(`a bug: ${error.stack ?? error.message}`);
    if (c.req.path === "/" && told.status === 401)
      return c.text("Open the address that `softprompt studio` has told: it holds a token.\n", 401);
    return c.json(told.body, told.status as 400, { ...told.headers });
  });
  return app;

  function changing(): void {
    if (context.readOnly) throw new ApiError(403, "the studio was started with --read-only", { code: "read_only" });
  }

  /** Asks what works in a run to stop, once: a second signal would end it before it has saved. @throws ApiError 409 where nothing does. */
  function stopRun(path: string): void {
    const own = jobs.at(path);
    if (own !== undefined) return void jobs.stop(own.id);
    const { pid, host, state } = runs.find(path);
    const none = new ApiError(409, "no process of this machine works in it", { code: "not_running" });
    if (state !== "running" || pid === null || host !== hostname() || pid === process.pid) throw none;
    // its path differs where it was given by a link
    const job = jobs.list.find((one) => one.pid === pid);
    if (job !== undefined) return void jobs.stop(job.id);
    const asked = `${pid} ${path}`;
    if (askedToStop.has(asked)) return;
    try {
      process.kill(pid, "SIGINT");
    } catch (cause) {
      throw (cause as NodeJS.ErrnoException).code === "ESRCH" ? none : ioError(cause, `process ${pid}`);
    }
    askedToStop.add(asked);
  }

  /** @throws ApiError 400, 413, 415; 503 while the studio closes: what began now would not be waited for. */
  async function bodyOf<S extends z.ZodType>(c: Context<Env>, schema: S): Promise<z.infer<S>> {
    checkBodyHeaders(c.env.incoming, mostBody);
    const body = checked(schema, await readBody(c.env.incoming, mostBody));
    if (context.signal.aborted) throw new ApiError(503, "the studio is closing", { code: "closing" });
    return body;
  }

  function runAt(c: Context<Env>): ListedRun {
    return runs.find(c.req.query("path") ?? "");
  }
}

/** A count in the query; 0 where it is none. */
const countIn = (c: Context<Env>, name: string) => Math.max(0, Number(c.req.query(name)) || 0);

const shared = { "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store" };

const pageFile = (name: string): string => readFileSync(packageFile(`dist/studio/page/${name}`), "utf8");
const text = (body: string, type: string) =>
  new Response(body, { headers: { "content-type": type, "content-security-policy": pagePolicy } });
const page = (name: string, type: string) => text(pageFile(name), type);

/** A path stays one when it is opened from elsewhere; a name of a hub or of a bundled model stays a name. */
function baseModel(cwd: string, model: string): string {
  const path = resolve(cwd, model);
  return existsSync(path) ? path : model;
}
