/**
 * @file `softprompt/serve`: a server for one frozen model and many adapters, as `softprompt serve` starts it.
 *
 * Start with `openServer`; `await using server = await openServer({ model, adapters, port: 0 })` closes it at the end of its scope.
 */

export { type ServeOptions, type SocketLimits, serveOptions, socketLimits } from "./serve/options.js";
export type { WarmingEvent } from "./serve/protocol.js";
export { type Closed, openServer, type ServeEvent, type ServeInput, type Server } from "./serve/server.js";
