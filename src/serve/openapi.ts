/**
 * @file /openapi.json, made from the routes and their schemas. In: routes. Out: an OpenAPI 3.1 document.
 */
import { z } from "zod";
import { packageInfo } from "../base/package.js";
import type { Route } from "./routes.js";
import { errorResponse } from "./schemas.js";

const json = (schema: z.ZodType, io: "input" | "output") => {
  const { $schema: _, ...body } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return { content: { "application/json": { schema: body } } };
};

/** The description of failures, the same for every route. */
const failures = {
  "4XX": { description: "The request was refused", ...json(errorResponse, "output") },
  "5XX": { description: "The server could not answer", ...json(errorResponse, "output") },
};

/** The description of these routes. */
export function openapiOf(routes: readonly Route[], tokenNeeded: boolean): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    const { method, path, summary, request, response, also, parameters = [], streams = false, open = false } = route;
    const body =
      typeof response === "string" ? { content: { [response.split(";")[0]!]: {} } } : json(response, "output");
    const content = {
      ...body.content,
      ...(also ? { [also.split(";")[0]!]: {} } : {}),
      ...(streams ? { "text/event-stream": { schema: { type: "string" } } } : {}),
    };
    const named = [
      ...(path.includes("{id}") ? [{ name: "id", in: "path", required: true, schema: { type: "string" } }] : []),
      ...parameters.map(({ name, values, summary }) => ({
        name,
        in: "query",
        description: summary,
        schema: { type: "string", enum: values },
      })),
    ];
    paths[path] = {
      ...paths[path],
      [method]: {
        summary,
        ...(named.length > 0 ? { parameters: named } : {}),
        ...(request ? { requestBody: { required: true, ...json(request, "input") } } : {}),
        ...(open ? { security: [] } : {}),
        responses: { 200: { description: "The answer", content }, ...failures },
      },
    };
  }
  const { version } = packageInfo();
  return {
    openapi: "3.1.0",
    info: { title: "softprompt serve", version },
    paths,
    ...(tokenNeeded
      ? { components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } }, security: [{ token: [] }] }
      : {}),
  };
}
