/**
 * @file What `tokenizer_config.json` and its companions say about a tokenizer: class, named tokens, tokens added later.
 *
 * In: the texts of `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, each maybe absent.
 * Out: TokenizerConfig. Read as transformers reads them: `added_tokens_decoder` of the config, and the older
 * `added_tokens.json` where there is none.
 */
import { SoftpromptError } from "../base/errors.js";
import { isObject, type JsonObject, own, parseJson } from "../base/json.js";
import type { AddedToken } from "./added.js";
import { tokenizerLimits } from "./assemble.js";
import { flag, isIndex, object } from "./parts.js";

export interface TokenizerConfig {
  /** `tokenizer_class`, if it is said. */
  readonly class: string | undefined;
  /** Texts of the tokens that have a role. */
  readonly roles: { readonly [role in Role]?: string };
  /** `add_bos_token`, `add_eos_token`, `add_prefix_space`, if they are said. */
  readonly addBos: boolean | undefined;
  readonly addEos: boolean | undefined;
  readonly addPrefixSpace: boolean | undefined;
  readonly extraIds: number | undefined;
  /** In order of id. */
  readonly added: readonly AddedToken[];
  /** The file that `added` came from. */
  readonly addedWhere: string;
}

const roles = ["bos", "eos", "pad", "unk"] as const;
type Role = (typeof roles)[number];

/** One file's text, and its name for errors. */
export interface ConfigFile {
  readonly text: string;
  readonly where: string;
}

export const noConfig: TokenizerConfig = {
  class: undefined,
  roles: {},
  addBos: undefined,
  addEos: undefined,
  addPrefixSpace: undefined,
  extraIds: undefined,
  added: [],
  addedWhere: "",
};

/** A folder's files about its tokenizer, as far as they are there. */
export interface TokenizerFiles {
  readonly config?: ConfigFile | undefined;
  readonly specialTokens?: ConfigFile | undefined;
  readonly addedTokens?: ConfigFile | undefined;
  readonly chatTemplate?: ConfigFile | undefined;
}

/** Texts of the tokens that have a role. */
export function readRoles(files: TokenizerFiles): TokenizerConfig["roles"] {
  const [config, special] = [parsed(files.config), parsed(files.specialTokens)];
  const named: { [role in Role]?: string } = {};
  for (const role of roles) {
    const text = tokenText(own(config, `${role}_token`)) ?? tokenText(own(special, `${role}_token`));
    if (text !== undefined) named[role] = text;
  }
  return named;
}

export function readTokenizerConfig(files: TokenizerFiles): TokenizerConfig {
  const config = parsed(files.config);
  const where = files.config?.where ?? "tokenizer_config.json";
  const named = readRoles(files);
  const byId = own(config, "added_tokens_decoder");
  const older = byId === undefined || byId === null;
  return {
    class: typeof own(config, "tokenizer_class") === "string" ? (own(config, "tokenizer_class") as string) : undefined,
    roles: named,
    addBos: optionalFlag(config, "add_bos_token", where),
    addEos: optionalFlag(config, "add_eos_token", where),
    addPrefixSpace: optionalFlag(config, "add_prefix_space", where),
    extraIds: extraIds(config, where),
    added: older
      ? addedByText(parsed(files.addedTokens), files.addedTokens?.where ?? "")
      : addedById(object(byId, `${where}, added_tokens_decoder`), `${where}, added_tokens_decoder`),
    addedWhere: older ? (files.addedTokens?.where ?? "") : `${where}, added_tokens_decoder`,
  };
}

/**
 * Tokens that the config adds to those that a tokenizer's own file has. `count` is how many ids there are already; a new one
 * must go on from there. As in transformers, a token that is already known keeps its flags whatever the config says. With a tokenizer.json
 * it keeps its id too (`knownKeepIds`).
 */
export function laterTokens(
  config: TokenizerConfig,
  known: (content: string) => number | undefined,
  count: number,
  knownKeepIds: boolean,
): AddedToken[] {
  let next = count;
  return config.added.filter((token) => {
    const id = known(token.content);
    if (id === undefined && token.id === next) {
      next++;
      return true;
    }
    if (id === token.id || (id !== undefined && knownKeepIds)) return false;
    throw new SoftpromptError("checkpoint", `the id of the added token ${token.content} does not fit the vocabulary`, {
      where: config.addedWhere,
      expected: String(id ?? next),
      got: token.id,
    });
  });
}

function parsed(file: ConfigFile | undefined): JsonObject {
  if (file === undefined) return {};
  return object(parseJson(file.text, file.where, "checkpoint"), file.where);
}

/** `"</s>"` or `{"content": "</s>", …}`. */
function tokenText(value: unknown): string | undefined {
  const text = isObject(value) ? own(value, "content") : value;
  return typeof text === "string" && text !== "" ? text : undefined;
}

function optionalFlag(config: JsonObject, name: string, where: string): boolean | undefined {
  const value = own(config, name);
  return value === undefined || value === null ? undefined : flag(config, name, false, where);
}

function extraIds(config: JsonObject, where: string): number | undefined {
  const value = own(config, "extra_ids");
  if (value === undefined || value === null) return undefined;
  if (isIndex(value) && value <= 10_000) return value;
  throw new SoftpromptError("checkpoint", "extra_ids must be a small whole number", {
    where,
    expected: "0 … 10000",
    got: value,
  });
}

/** `{"57": {"content": "{", …}}`. */
function addedById(list: JsonObject, where: string): AddedToken[] {
  return inOrder(
    Object.entries(list).map(([key, value]) => {
      const token = object(value, `${where}, ${key}`);
      const special = flag(token, "special", false, where);
      return {
        id: idOf(/^\d{1,7}$/.test(key) ? Number(key) : key, where),
        content: contentOf(own(token, "content"), where),
        special,
        normalized: flag(token, "normalized", !special, where),
        lstrip: flag(token, "lstrip", false, where),
        rstrip: flag(token, "rstrip", false, where),
        singleWord: flag(token, "single_word", false, where),
      };
    }),
    where,
  );
}

/** `{"{": 57}`. */
function addedByText(list: JsonObject, where: string): AddedToken[] {
  return inOrder(
    Object.entries(list).map(([content, id]) => ({
      id: idOf(id, where),
      content: contentOf(content, where),
      special: false,
      normalized: true,
      lstrip: false,
      rstrip: false,
      singleWord: false,
    })),
    where,
  );
}

function inOrder(tokens: AddedToken[], where: string): AddedToken[] {
  if (tokens.length > tokenizerLimits.addedTokens)
    throw new SoftpromptError("checkpoint", "there are too many added tokens", {
      where,
      expected: `at most ${tokenizerLimits.addedTokens}`,
      got: tokens.length,
    });
  return tokens.sort((a, b) => a.id - b.id);
}

function idOf(value: unknown, where: string): number {
  if (isIndex(value) && value < 2 * tokenizerLimits.pieces) return value;
  throw new SoftpromptError("checkpoint", "an added token has no usable id", {
    where,
    expected: "a whole number",
    got: value,
  });
}

function contentOf(value: unknown, where: string): string {
  if (typeof value === "string" && value.length > 0 && value.length <= tokenizerLimits.pieceLength) return value;
  throw new SoftpromptError("checkpoint", "an added token has no usable text", { where, got: value });
}
