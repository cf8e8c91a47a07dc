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
  /** Tokens that are special because the config names them: those with a role, known here or not, and additional ones. */
  readonly named: readonly NamedToken[];
  /** In order of id. */
  readonly added: readonly AddedToken[];
  /** Whether `added` comes with flags; the older file has none. */
  readonly addedFlags: boolean;
  /** The file that `added` came from. */
  readonly addedWhere: string;
}

const roles = ["bos", "eos", "pad", "unk"] as const;
type Role = (typeof roles)[number];

/** What a config says of a token that it names; its id is the vocabulary's. */
export type NamedToken = Omit<AddedToken, "id" | "special">;

/** Roles that nothing here asks for. Their tokens are special all the same. */
const otherRoles = ["sep", "cls", "mask"] as const;
/** Lists of special tokens without a role; a newer one may be an object with names of its own. */
const specialLists = ["additional_special_tokens", "extra_special_tokens"] as const;

/** The end token of GPT-2 and its kin. */
export const endOfText = "<|endoftext|>";
/** Roles that a class gives where the config names none, as in transformers. */
const classRoles: Readonly<Record<string, TokenizerConfig["roles"]>> = {
  GPT2Tokenizer: { bos: endOfText, eos: endOfText, unk: endOfText },
  GPTNeoXTokenizer: { bos: endOfText, eos: endOfText, unk: endOfText },
  Qwen2Tokenizer: { eos: endOfText, pad: endOfText, unk: endOfText },
};

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
  named: [],
  added: [],
  addedFlags: false,
  addedWhere: "",
};

/** A folder's files about its tokenizer, as far as they are there. */
export interface TokenizerFiles {
  readonly config?: ConfigFile | undefined;
  readonly specialTokens?: ConfigFile | undefined;
  readonly addedTokens?: ConfigFile | undefined;
  readonly chatTemplate?: ConfigFile | undefined;
}

/** Texts of the tokens that have a role: as the files name them, else as the class does. */
export function readRoles(files: TokenizerFiles): TokenizerConfig["roles"] {
  const [config, special] = [parsed(files.config), parsed(files.specialTokens)];
  const named: { [role in Role]?: string } = { ...classRoles[(classOf(config) ?? "").replace(/Fast$/, "")] };
  for (const role of roles) {
    const key = `${role}_token`;
    const text = tokenText(own(config, key)) ?? tokenText(own(special, key));
    if (text !== undefined) named[role] = text;
    // null says that there is none
    else if (own(config, key) === null) delete named[role];
  }
  return named;
}

/** The tokens that the files name as special, each once; the config's own word counts before that of the older map. */
function readNamed(files: TokenizerFiles, found: TokenizerConfig["roles"]): NamedToken[] {
  const named = new Map<string, NamedToken>();
  const add = (value: unknown, where: string) => {
    const content = tokenText(value);
    if (content === undefined || named.has(content)) return;
    const told = isObject(value) ? value : {};
    named.set(content, {
      content,
      normalized: flag(told, "normalized", false, where),
      lstrip: flag(told, "lstrip", false, where),
      rstrip: flag(told, "rstrip", false, where),
      singleWord: flag(told, "single_word", false, where),
    });
  };
  for (const file of [files.config, files.specialTokens]) {
    if (file === undefined) continue;
    const said = parsed(file);
    for (const role of [...roles, ...otherRoles]) add(own(said, `${role}_token`), `${file.where}, ${role}_token`);
    for (const key of specialLists) {
      const list = own(said, key);
      const tokens = Array.isArray(list) ? list : isObject(list) ? Object.values(list) : [];
      for (const token of tokens.slice(0, tokenizerLimits.addedTokens)) add(token, `${file.where}, ${key}`);
    }
  }
  for (const text of Object.values(found)) add(text, "");
  return [...named.values()];
}

export function readTokenizerConfig(files: TokenizerFiles): TokenizerConfig {
  const config = parsed(files.config);
  const where = files.config?.where ?? "tokenizer_config.json";
  const named = readRoles(files);
  const byId = own(config, "added_tokens_decoder");
  const older = byId === undefined || byId === null;
  return {
    class: classOf(config),
    roles: named,
    addBos: optionalFlag(config, "add_bos_token", where),
    addEos: optionalFlag(config, "add_eos_token", where),
    addPrefixSpace: optionalFlag(config, "add_prefix_space", where),
    extraIds: extraIds(config, where),
    named: readNamed(files, named),
    added: older
      ? addedByText(parsed(files.addedTokens), files.addedTokens?.where ?? "")
      : addedById(object(byId, `${where}, added_tokens_decoder`), `${where}, added_tokens_decoder`),
    addedFlags: !older,
    addedWhere: older ? (files.addedTokens?.where ?? "") : `${where}, added_tokens_decoder`,
  };
}

function classOf(config: JsonObject): string | undefined {
  const name = own(config, "tokenizer_class");
  return typeof name === "string" ? name : undefined;
}

/** A tokenizer's own vocabulary, before its config adds to it. */
export interface OwnVocabulary {
  /** Id of a text that it knows, as a piece or an added token. */
  readonly known: (content: string) => number | undefined;
  /** Added tokens of its own file. */
  readonly added: readonly AddedToken[];
  /** How many ids it has; a new token goes on from there. */
  readonly count: number;
  /** It is a tokenizer.json: a known token keeps its id, whatever the config says, but takes the config's flags, as in transformers. */
  readonly json: boolean;
}

/**
 * The added tokens of the file with those that only the config has. A piece of the vocabulary that the config adds, or names as special,
 * becomes an added token and keeps its id.
 */
export function withConfig(config: TokenizerConfig, vocabulary: OwnVocabulary): AddedToken[] {
  const { known, json } = vocabulary;
  const later = new Set(laterTokens(config, vocabulary));
  const tokens = new Map(vocabulary.added.map((token) => [token.content, token]));
  for (const token of config.added) {
    const before = tokens.get(token.content);
    if (later.has(token)) tokens.set(token.content, token);
    else if (config.addedFlags && (json || before === undefined))
      // what is special stays special
      tokens.set(token.content, {
        ...token,
        id: known(token.content)!,
        special: token.special || before?.special === true,
      });
  }
  for (const token of config.named) {
    const before = tokens.get(token.content);
    const id = before?.id ?? known(token.content);
    // one character ("!" for padding) stays text: a user's text could not be written without it
    if (id === undefined || (before === undefined && [...token.content].length === 1)) continue;
    tokens.set(token.content, { ...(before ?? token), id, special: true });
  }
  return [...tokens.values()];
}

/** Tokens of the config that are new. Throws SoftpromptError (checkpoint) for one whose id does not fit the vocabulary. */
function laterTokens(config: TokenizerConfig, { known, count, json }: OwnVocabulary): AddedToken[] {
  let next = count;
  return config.added.filter((token) => {
    const id = known(token.content);
    if (id === undefined && token.id === next) {
      next++;
      return true;
    }
    if (id === token.id || (id !== undefined && json)) return false;
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
