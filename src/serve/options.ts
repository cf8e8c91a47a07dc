/**
 * @file The options of a server, as option tables: its model, address, access and limits.
 */
import {
  boolean,
  integer,
  list,
  number,
  type OptionTable,
  type OptionValues,
  optionsOf,
  string,
} from "../base/options.js";
import { modelOptions } from "../tasks/options.js";

// requests choose whether the input is a conversation, not the server
const { chat: _, ...ofModel } = modelOptions;

/** Most seconds of a timer: it has 32 bits of milliseconds, and one beyond them fires at once. */
const timerSeconds = 2_000_000;

/** The base model of a server. Texts that it reads are other people's, so none stays on disk unless that is asked for. */
export const servedModelOptions = {
  ...ofModel,
  textCacheMemory: {
    ...ofModel.textCacheMemory,
    help: "Memory for texts that were read; those beyond it go to disk, if it has room for them, or are read again",
  },
  textCacheDisk: integer({
    default: 0,
    min: 0,
    unit: "MiB",
    source: "our choice",
    help: "Disk for requests' texts that were read, of all models together, in the user's cache folder; 0 is none",
  }),
} satisfies OptionTable;

/** Option table of `openServer`: everything but the model and its adapters. */
export const serveOptions = optionsOf("openServer()", {
  host: string({
    default: "127.0.0.1",
    placeholder: "address",
    help: "Address to listen on; another than this machine's own (127.0.0.1, ::1, localhost) needs --token-file",
  }),
  port: integer({ default: 8017, min: 0, max: 65535, help: "Port to listen on; 0 takes a free one" }),
  tokenFile: string({
    placeholder: "file",
    help: "File with the token that every request must bring: one line of 16 to 512 visible characters",
    source: "default a random token, told at the start",
  }),
  token: boolean({
    default: true,
    help: "Ask for a token; --no-token lets every program of this machine ask, and is refused on other addresses",
  }),
  allowedHost: list({
    of: "string",
    default: [],
    help: "Further names by which requests may call this server (their Host header); a proxy's name, for example",
  }),
  corsOrigin: list({
    of: "string",
    default: [],
    help: "Origins of web pages that may ask, such as http://localhost:3000; every other page is refused",
  }),
  served: string({
    placeholder: "name",
    help: "Name of the base model in requests: NAME, and NAME:ADAPTER",
    source: "default the hub id, or the last part of a folder's name",
  }),
  onlyLabels: boolean({
    default: false,
    help: "Answer /v1/predict alone and refuse what asks for a text: no session that writes is opened, which saves its memory and its start",
  }),
  batchSize: integer({
    default: 32,
    min: 1,
    max: 1024,
    unit: "rows",
    help: "Rows of one pass, of all requests together",
  }),
  maxBody: integer({ default: 1024, min: 1, max: 1 << 20, unit: "KiB", help: "Largest request" }),
  maxRows: integer({ default: 64, min: 1, max: 10_000, unit: "rows", help: "Most inputs or prompts of one request" }),
  maxQueue: integer({
    default: 1024,
    min: 1,
    max: 1_000_000,
    unit: "rows",
    help: "Most rows that wait or run, of all requests together; beyond it requests are answered 429 with Retry-After",
  }),
  maxPromptTokens: integer({
    default: 2048,
    min: 2,
    unit: "tokens",
    help: "Longest input. One to be written on from is refused when longer; one of a task loses the end of its longest field",
  }),
  maxTokens: integer({ default: 1024, min: 1, unit: "tokens", help: "Longest text that a request may ask for" }),
  requestTimeout: number({
    default: 240,
    min: 0.1,
    max: timerSeconds,
    unit: "seconds",
    help: "A request that takes longer is ended with 504; clients give up after 300 seconds without a byte",
  }),
  shutdownTimeout: number({
    default: 30,
    min: 0,
    unit: "seconds",
    help: "At a signal: how long what runs may take to end",
  }),
});

/** The options of a server, with defaults filled in. */
export type ServeOptions = OptionValues<typeof serveOptions>;

/** Time limits of connections in seconds. They are fixed and protect against slow and silent clients. */
export const socketLimits = {
  /** For a request's headers. */
  headers: 10,
  /** For a whole request, its body too. */
  request: 30,
  /** Between two requests of one connection. */
  idle: 10,
  /** Until a reader of a stream must have accepted data. */
  stalled: 60,
  /** Until a silent stream sends a sign of life. */
  keepAlive: 15,
} as const;

/** See socketLimits. */
export type SocketLimits = { readonly [K in keyof typeof socketLimits]: number };
/** Bytes of a request's headers together. */
export const headerBytes = 16_384;
/** Connections at a time. */
export const mostConnections = 2_000;
