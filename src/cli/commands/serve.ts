/**
 * @file softprompt serve, declared: one model and many adapters behind HTTP. The work itself is ../actions/serve.ts.
 */
import { command } from "../command.js";
import { servedAdapters, servedAddress, servedLimits, servedModel } from "../tables/serve.js";

export const serve = command({
  summary: "answer requests over HTTP: one model, many adapters, OpenAI's interface",
  description:
    "Opens the model once and answers on a port of this machine: POST /v1/predict (labels and probabilities), POST /v1/completions and /v1/chat/completions as OpenAI has them, GET /v1/models, /health, /metrics and /openapi.json. Requests name the base model or BASE:ADAPTER; rows that come together are computed together, whatever their adapters. Every request but /health brings the token that is told at the start (Authorization: Bearer …). A signal ends the server in order: nothing new is taken, what runs may end within --shutdown-timeout, and the exit code is 0; where something had to be cut off it is the signal's (130, 143, 129). A second signal ends it at once. docs/serve.md has the interface, examples and what is refused.",
  positionals: [],
  sections: {
    Model: servedModel,
    Adapters: servedAdapters,
    "Address and access": servedAddress,
    Limits: servedLimits,
  },
  examples: [
    "softprompt serve --model t5-nano --adapter reviews=runs/reviews --adapter spam=runs/spam/adapter",
    "softprompt serve --model HuggingFaceTB/SmolLM2-135M-Instruct --adapters adapters --port 9000",
    "softprompt serve --model t5-nano --adapter reviews=runs/reviews --host 0.0.0.0 --token-file token.txt",
  ],
  saves: "ending what runs",
  run: async (options, _, context) => (await import("../actions/serve.js")).serve(options, context),
});
