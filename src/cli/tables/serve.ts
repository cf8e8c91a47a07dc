/**
 * @file The options of softprompt serve.
 */
import { boolean, map, type OptionValues, string } from "../../base/options.js";
import { servedModelOptions, serveOptions } from "../../serve/options.js";

/** The base model of a server. */
export const servedModel = servedModelOptions;

/** The adapters of a server. */
export const servedAdapters = {
  adapter: map({
    default: {},
    help: "Adapters by the name that requests call them: --adapter reviews=runs/reviews --adapter spam=runs/spam/adapter",
  }),
  adapters: string({
    placeholder: "folder",
    help: "Folder whose folders are adapters by their names; those that come, change and go while the server runs are followed",
  }),
  anyBase: boolean({ default: false, help: "Use adapters though the base model is not the recorded one" }),
};

const limits = [
  "onlyLabels",
  "batchSize",
  "maxBody",
  "maxRows",
  "maxQueue",
  "maxPromptTokens",
  "maxTokens",
  "requestTimeout",
  "shutdownTimeout",
] as const;

const isLimit = (key: string) => (limits as readonly string[]).includes(key);
type Limits = Pick<typeof serveOptions, (typeof limits)[number]>;

/** How much work a server does at a time. */
export const servedLimits = Object.fromEntries(Object.entries(serveOptions).filter(([key]) => isLimit(key))) as Limits;
/** Address and access of a server. */
export const servedAddress = Object.fromEntries(Object.entries(serveOptions).filter(([key]) => !isLimit(key))) as Omit<
  typeof serveOptions,
  keyof Limits
>;

export type ServeValues = OptionValues<typeof servedModel> &
  OptionValues<typeof servedAdapters> &
  OptionValues<typeof servedAddress> &
  OptionValues<typeof servedLimits>;
