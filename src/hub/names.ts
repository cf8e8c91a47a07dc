/**
 * @file Checks the user's and the environment's settings of a hub: a model's name, the hub's address, the token.
 *
 * In: texts. Out: their parts, or SoftpromptError "usage" and "checkpoint". Tokens and passwords are in no message.
 */
import { HUB_URL } from "@huggingface/hub";
import { SoftpromptError } from "../base/errors.js";
import { withoutPassword } from "./web.js";

/** "organisation/name@revision" → its parts; refuses what is neither an id nor a revision. */
export function readName(
  name: string,
  asked: string | undefined,
): { id: string; revision: string; file: string | null } {
  const part = "[A-Za-z0-9][\\w.-]{0,95}";
  const pattern = new RegExp(`^(${part}(?:/${part})?)(?:/(${part}\\.gguf))?(?:@(.+))?$`);
  const [, id, file, inName] = pattern.exec(name) ?? [];
  if (id === undefined || /--|\.\./.test(id) || file?.includes(".."))
    throw new SoftpromptError("checkpoint", "there is no such model folder", {
      where: name,
      expected: "a folder that exists, or a hub id such as google/flan-t5-small",
    });
  const revision = asked ?? inName ?? "main";
  if (!/^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*)*$/.test(revision) || revision.includes("..") || revision.length > 200)
    throw new SoftpromptError("usage", "this is not a revision", {
      where: name,
      expected: "a branch, a tag, or a commit of 40 hex digits",
      got: revision,
    });
  return { id, revision, file: file ?? null };
}

/** The hub's address, without a slash at its end. Errors never show it whole, because it may hold a password. */
export function hubAddress(given: string | undefined, env: NodeJS.ProcessEnv): string {
  const text = given ?? (env.HF_ENDPOINT || HUB_URL);
  const wrong = (problem: string) =>
    new SoftpromptError("usage", problem, {
      where: given === undefined ? "HF_ENDPOINT" : "the hub's address",
      expected: `an address such as ${HUB_URL}`,
      got: withoutPassword(text),
    });
  if (!URL.canParse(text)) throw wrong("the hub's address is not a URL");
  const url = new URL(text);
  if (!/^https?:$/.test(url.protocol)) throw wrong("the hub's address must begin with https:// or http://");
  if (url.username !== "" || url.password !== "")
    throw wrong("the hub's address must not hold a name and password: set HF_TOKEN instead");
  return text.replace(/\/+$/, "");
}

/** @throws SoftpromptError("usage") for a token that cannot be sent in a request; the error does not show it. */
export function checkedToken(token: string | undefined): string | undefined {
  if (token === undefined || /^[\x21-\x7e]+$/.test(token)) return token;
  throw new SoftpromptError("usage", "the hub's token holds a character that no token has (a blank, a line break)", {
    where: "HF_TOKEN, HF_TOKEN_PATH or the file that `hf auth login` wrote",
    hint: "copy the token again from the hub's settings",
  });
}
