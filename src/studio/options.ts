/** @file The options of the studio, as a table. */
import { boolean, integer, type OptionValues, optionsOf } from "../base/options.js";

export const studioOptions = optionsOf("openStudio()", {
  port: integer({
    default: 8018,
    min: 0,
    max: 65535,
    help: "Port to listen on, of this machine alone; 0 takes a free one",
  }),
  jobs: integer({
    default: 1,
    min: 1,
    max: 64,
    help: "Commands that run at the same time; further ones wait. Each takes the threads that it is told to take",
  }),
  readOnly: boolean({ default: false, help: "Show runs and try prompts, but start and stop nothing" }),
});

export type StudioOptions = OptionValues<typeof studioOptions>;
