/**
 * @file The application. It checks access, then the route, then the body, then answers. Every failure has OpenAI's form.
 *
 * In: ServerContext, guard, token. Out: a Hono application for its Node server. Checked with hono 4.13 and @hono/node-server 2.1.
 * The order matters: Host, Origin and token are checked before the path, so /health is the only path that is answered without a token.
 */
import type { HttpBindings } from "@hono/node-server";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type Context, Hono } from "hono";
import { accepts } from "hono/accepts";
import { ApiError } from "./api-error.js";
import { checkBodyHeaders, checked, readBody } from "./body.js";
import { checkPlace, Left, type ServerContext } from "./context.js";
import type { openGuard } from "./guard.js";
import type { Answered, Route } from "./routes.js";

type Env = { Bindings: HttpBindings; Variables: { route: string; cors: string | null } };

/** Checks of access. */
export interface Doors {
  readonly guard: ReturnType<typeof openGuard>;
  readonly checkToken: (authorization: string | undefined) => void;
}

/** Limit of unknown fields that are reported. */
const mostTold = 100;

/** An application with these routes. */
export function openApp(context: ServerContext, routes: readonly Route[], { guard, checkToken }: Doors): Hono<Env> {
  const app = new Hono<Env>();
  const told = new Set<string>();
  const openPaths = new Set(routes.filter(({ open }) => open).map(({ path }) => path));
  const mostBytes = context.options.maxBody * 1024;

  app.use("*", async (c, next) => {
    const { incoming, outgoing } = c.env;
    const started = performance.now();
    c.set("route", "other");
    c.set("cors", null);
    outgoing.once("close", () =>
      context.metrics.request(c.get("route"), outgoing.statusCode, (performance.now() - started) / 1000),
    );
    // a request may name a host in its target too; that one takes precedence
    if (!incoming.url?.startsWith("/"))
      throw new ApiError(400, "the target of a request is a path", { code: "bad_request" });
    guard.checkHost(incoming.headers.host);
    c.set("cors", guard.checkOrigin(incoming.headers.origin));
    if (incoming.method === "OPTIONS" && c.get("cors") !== null) return preflight(c);
    if (!openPaths.has(c.req.path)) checkToken(incoming.headers.authorization);
    await next();
  });

  for (const route of routes) {
    const pattern = route.path.replace("{id}", ":id{.+}");
    app.on(route.method, pattern, async (c) => {
      c.set("route", route.path);
      const { incoming, outgoing } = c.env;
      if (context.stopping() && !route.open) checkPlace(context);
      let body: unknown = null;
      if (route.request !== undefined) {
        checkBodyHeaders(incoming, mostBytes);
        checkPlace(context);
        body = checked(route.request, await readBody(incoming, mostBytes));
        tellUnknown(route, body);
      }
      if (c.get("cors") !== null)
        for (const [name, value] of Object.entries(corsHeaders(c))) outgoing.setHeader(name, value);
      const answered = await route.answer(context, {
        body,
        id: c.req.param("id") ?? "",
        response: outgoing,
        query: (name) => c.req.query(name),
        accepted: (supports) => accepts(c, { header: "Accept", supports: [...supports], default: supports[0]! }),
      });
      return answered === null ? RESPONSE_ALREADY_SENT : respond(c.env, answered);
    });
  }
  for (const path of new Set(routes.map((route) => route.path))) {
    const allow = routes.filter((route) => route.path === path).map(({ method }) => method.toUpperCase());
    app.all(path.replace("{id}", ":id{.+}"), (c) => {
      c.set("route", path);
      throw new ApiError(405, `this path takes ${allow.join(", ")}`, {
        code: "method_not_allowed",
        headers: { allow: allow.join(", ") },
      });
    });
  }
  app.notFound(() => {
    throw new ApiError(404, "there is no such path; /openapi.json lists them", { code: "not_found" });
  });
  app.onError((error, c) => {
    if (error instanceof Left || c.env.outgoing.destroyed) return RESPONSE_ALREADY_SENT;
    const known = error instanceof ApiError;
    // an incomplete body is the client's fault
    const broken = (error as NodeJS.ErrnoException).code === "ECONNRESET";
    if (!known && !broken) context.notice(`a bug: ${error.stack ?? error.message}`);
    const told = known ? error : new ApiError(500, "the server has a bug; its log has the details", { code: "bug" });
    return c.json(told.body, told.status as 400, { ...told.headers, ...corsHeaders(c) });
  });
  return app;

  function tellUnknown(route: Route, body: unknown): void {
    const known = Object.keys((route.request as { shape?: object }).shape ?? {});
    for (const key of Object.keys(body as object)) {
      const name = `${route.path} ${key}`;
      if (known.includes(key) || told.has(name) || told.size >= mostTold || key.length > 64) continue;
      told.add(name);
      context.notice(
        `${route.path}: a request has a field ${JSON.stringify(key)}, which is not known and is left alone`,
      );
    }
  }
}

/** Written to Node's response itself: a Response of the web is a stream, which costs more than the rest of an answer. */
function respond({ outgoing }: HttpBindings, answered: NonNullable<Answered>): Response {
  const isText = "text" in answered;
  const body = isText ? answered.text : JSON.stringify(answered.json);
  outgoing.writeHead(isText ? 200 : (answered.status ?? 200), {
    "content-type": isText ? answered.type : "application/json",
    "content-length": Buffer.byteLength(body),
    ...(isText ? {} : answered.headers),
  });
  outgoing.end(body);
  return RESPONSE_ALREADY_SENT;
}

/** Headers by which clients in a page decide whether and when to ask again. */
const exposed = "Retry-After, x-should-retry";

function corsHeaders(c: Context<Env>): Record<string, string> {
  const origin = c.get("cors");
  if (origin === null) return {};
  return { "access-control-allow-origin": origin, "access-control-expose-headers": exposed, vary: "Origin" };
}

function preflight(c: Context<Env>): Response {
  return c.body(null, 204, {
    ...corsHeaders(c),
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": c.req.header("access-control-request-headers") ?? "authorization, content-type",
    "access-control-max-age": "600",
  });
}
