/** Names of hub models. */
import { expect, test } from "vitest";
import { hubName } from "./hub-name.js";

const revision = "0123456789abcdef0123456789abcdef01234567";

test.each(["gpt2", "google-t5/t5-small", "bartowski/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct-Q8_0.gguf"])(
  "%s is of a hub",
  (id) => expect(hubName(`${id}@${revision}`)).toEqual({ id, revision }),
);

test.each(["t5-nano", "models/t5-nano", `/data/a@${revision}`, `./a@${revision}`, "a@main", `a@${revision}0`])(
  "%s is not",
  (name) => expect(hubName(name)).toBeNull(),
);
