/** @file A form for a command, made of its option tables: shows rows as the model would read them, the command line, and starts it. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { flagWords, type Option } from "../../base/options.js";
import { shellWord } from "../../base/shell-word.js";
import type { Form, Preview, ShownRow } from "../protocol.js";
import { api, type Refusal } from "./api.js";
import { Choice, Heading, Problem, Search, Section } from "./parts.jsx";
import { linkTo, useAction, useAsked, useKept, useStudio } from "./state.js";
import { fieldText, fieldValue, usualText } from "./values.js";

type Texts = Readonly<Record<string, string>>;
type FormOption = Form["sections"][number]["options"][number];

/** Options that the studio sets itself. */
const hidden: ReadonlySet<string> = new Set(["resume"]);
/** The place of a run, which another like it does not take over. */
const place = "output";

export function New({ query }: { readonly query: URLSearchParams }) {
  const { value: forms, error } = useAsked(() => api.forms(), "forms", null);
  const [command, setCommand] = useKept("command", () => query.get("command") ?? "train");
  // of every command: an option that another has too keeps its text there
  const [edits, setEdits] = useKept<Texts>("edits", () => ({}));
  const { given, error: unread } = useGiven(query);
  if (forms === null || given === null) return <Problem error={error ?? unread} />;
  const form = forms.find((one) => one.command === command) ?? forms[0]!;
  return (
    <>
      <Heading>New</Heading>
      <Choice label="command" values={forms.map((one) => one.command)} value={form.command} choose={setCommand} />
      <p class="lead">{form.summary}</p>
      <CommandForm
        form={form}
        given={given}
        edits={edits}
        edit={(key, text) => setEdits((old) => ({ ...old, [key]: text }))}
        key={form.command}
      />
    </>
  );
}

/** Values that the form begins with: of a run, of a command that was started here, or none. */
function useGiven(query: URLSearchParams) {
  const { state } = useStudio();
  const [like, from, job] = ["like", "from", "job"].map((name) => query.get(name));
  const { value, error } = useAsked<Readonly<Record<string, unknown>>>(
    async () => {
      if (like) {
        const { [place]: _, ...options } = (await api.run(like)).options;
        return options;
      }
      if (job) return state.jobs.find(({ id }) => id === job)?.options ?? {};
      return from ? { from: `${state.folder}/${from}` } : {};
    },
    String(query),
    null,
  );
  return { given: value, error };
}

function CommandForm({
  form,
  given,
  edits,
  edit,
}: {
  readonly form: Form;
  readonly given: Readonly<Record<string, unknown>>;
  readonly edits: Texts;
  readonly edit: (key: string, text: string) => void;
}) {
  const { state, again } = useStudio();
  const { busy, error, run } = useAction();
  const [words, setWords] = useKept(`words ${form.command}`, () => "");
  const sections = useMemo(() => sectionsOf(form), [form]);
  // in the table's order, in which the command is written
  const all = useMemo(() => optionsOf(form), [form]);
  const texts: Texts = useMemo(() => ({ ...textsOf(all, given), ...edits }), [all, given, edits]);
  const isGiven = ({ key }: FormOption) => (texts[key] ?? "") !== "";
  const [open, setOpen] = useKept<ReadonlySet<string>>(
    `open ${form.command}`,
    () => new Set(sections.filter(({ options }, i) => i === 0 || options.some(isGiven)).map(({ name }) => name)),
  );
  const values = valuesOf(all, texts);
  const wrong = error?.param?.replace(/^options\./, "") ?? null;
  const start = () =>
    run(async () => {
      const job = await api.start(form.command, values);
      again();
      location.hash = linkTo("job", [["id", job.id]]);
    });
  const isShown = (option: FormOption) => words === "" || option.key === wrong || holdsWords(option, words);
  const toggled = (name: string, isOpen: boolean) => {
    // while one searches, every section with something found is open
    if (words !== "" || open.has(name) === isOpen) return;
    setOpen((old) => new Set(isOpen ? [...old, name] : [...old].filter((one) => one !== name)));
  };
  return (
    <>
      <div class="bar">
        <Search placeholder="find an option" label="find an option" words={words} set={setWords} />
        <span class="soft">
          files are looked for in <code>{state.cwd}</code>
        </span>
      </div>
      {/* Enter in a field starts nothing: a training may take hours, and a form is long */}
      <form onSubmit={(event) => event.preventDefault()}>
        <Suggestions />
        {sections.map(({ name, options }) => {
          const shown = options.filter(isShown);
          const isOpen = open.has(name) || words !== "" || shown.some(({ key }) => key === wrong);
          return shown.length === 0 ? null : (
            <details
              class="options"
              key={name}
              open={isOpen}
              onToggle={({ currentTarget }) => toggled(name, currentTarget.open)}
            >
              <summary>
                {name} <span class="soft">{shown.length}</span>
              </summary>
              {shown.map((option) => (
                <Field
                  key={option.key}
                  option={option}
                  needed={option.required && !(option.key === "model" && (texts.from ?? "") !== "")}
                  text={texts[option.key] ?? ""}
                  set={(text) => edit(option.key, text)}
                  problem={wrong === option.key ? error : null}
                />
              ))}
            </details>
          );
        })}
        <div class="bar">
          <button type="button" class="main" disabled={busy || state.readOnly} onClick={start}>
            {busy ? "starting …" : "Start"}
          </button>
          {state.readOnly && <span class="soft">this studio only reads</span>}
        </div>
        <Problem error={error} />
        <pre class="soft">{commandLine(form, all, values)}</pre>
        {all.some(({ key }) => key === "template") && <Rows values={values} />}
      </form>
    </>
  );
}

const holdsWords = ({ key, flag, help }: FormOption, words: string) =>
  `${key} ${flag} ${help}`.toLowerCase().includes(words.toLowerCase());

/** All but those that the studio sets. */
const optionsOf = ({ sections }: Form): readonly FormOption[] =>
  sections.flatMap(({ options }) => options).filter(({ key }) => !hidden.has(key));

/** The essential options first; each option once. */
function sectionsOf(form: Form): Form["sections"] {
  const { essentials, sections } = form;
  const all = optionsOf(form);
  const first = new Set(essentials);
  return [
    { name: "Essentials", options: essentials.flatMap((key) => all.find((option) => option.key === key) ?? []) },
    ...sections.map(({ name, options }) => ({
      name,
      options: options.filter(({ key }) => !first.has(key) && !hidden.has(key)),
    })),
  ];
}

const textsOf = (options: readonly FormOption[], given: Readonly<Record<string, unknown>>): Texts =>
  Object.fromEntries(
    options.flatMap((option) => {
      const value = currentValue(option, given);
      if (value === undefined) return [];
      const text = fieldText(option, value);
      // a run's configuration holds every default; one that is suited to the other options would be chosen anew
      return text === fieldText(option, option.default) && option.suited === undefined ? [] : [[option.key, text]];
    }),
  );

/** The option's value, under the names of this version; a run may be of the one before. */
function currentValue(option: FormOption, given: Readonly<Record<string, unknown>>): unknown {
  const value = given[option.key] ?? (option.formerly === undefined ? undefined : given[option.formerly]);
  return option.kind === "choice" && typeof value === "string" ? (option.formerValues?.[value] ?? value) : value;
}

const valuesOf = (options: readonly FormOption[], texts: Texts): Record<string, unknown> =>
  Object.fromEntries(
    options.flatMap((option) => {
      const value = fieldValue(option, texts[option.key] ?? "");
      return value === undefined ? [] : [[option.key, value]];
    }),
  );

/** As it would be typed; where a value cannot be written, the reason. */
export function commandLine(
  { command }: Pick<Form, "command">,
  options: readonly FormOption[],
  values: Readonly<Record<string, unknown>>,
): string {
  const table = Object.fromEntries(options.map((option) => [option.key, option as Option]));
  try {
    return ["softprompt", command, ...flagWords(table, values)].map(shellWord).join(" ");
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Names for fields that take a model. */
function Suggestions() {
  const { state } = useStudio();
  const models = [...new Set([...state.bundled, ...state.runs.flatMap(({ model }) => model ?? [])])];
  return (
    <datalist id="models">
      {models.map((model) => (
        <option value={model} key={model} />
      ))}
    </datalist>
  );
}

function Field({
  option,
  needed,
  text,
  set,
  problem,
}: {
  readonly option: FormOption;
  readonly needed: boolean;
  readonly text: string;
  readonly set: (text: string) => void;
  /** Why its value was refused. */
  readonly problem: Refusal | null;
}) {
  const { key, flag, help, unit, source } = option;
  useEffect(() => {
    if (problem !== null) document.getElementById(`option-${key}`)?.focus();
  }, [problem, key]);
  return (
    <div class={`field ${text === "" ? "" : "changed"} ${problem === null ? "" : "wrong"}`}>
      <label for={`option-${key}`}>
        {key}
        {needed && <span class="bad"> required</span>}
        <code class="soft">{flag}</code>
      </label>
      <Control option={option} text={text} set={set} wrong={problem !== null} />
      {problem !== null && (
        <p class="bad" id={`problem-${key}`}>
          {problem.message}
        </p>
      )}
      <p class="soft" id={`help-${key}`}>
        {help}
        {unit !== undefined && ` (${unit})`}
        {source !== undefined && ` [${source}]`}
      </p>
    </div>
  );
}

function Control({
  option,
  text,
  set,
  wrong,
}: {
  readonly option: FormOption;
  readonly text: string;
  readonly set: (text: string) => void;
  readonly wrong: boolean;
}) {
  const { key } = option;
  const told = {
    id: `option-${key}`,
    "aria-invalid": wrong,
    "aria-describedby": wrong ? `problem-${key} help-${key}` : `help-${key}`,
  };
  const usual = usualText(option);
  const words = option.kind === "boolean" ? ["true", "false"] : option.kind === "choice" ? option.values : null;
  if (words !== null)
    return (
      <select {...told} value={text} onChange={(event) => set(event.currentTarget.value)}>
        <option value="">{usual === "" ? "not given" : `${usual} (default)`}</option>
        {words.map((word) => (
          <option value={word} key={word}>
            {word}
          </option>
        ))}
      </select>
    );
  const lines =
    option.kind === "map" ||
    (option.kind === "list" && option.whole) ||
    (option.kind === "string" && option.placeholder === undefined);
  if (lines)
    return (
      <textarea
        {...told}
        rows={Math.max(option.kind === "string" ? 1 : 2, text.split("\n").length)}
        placeholder={option.kind === "map" ? mapPlaceholder(option) : usual}
        value={text}
        onInput={(event) => set(event.currentTarget.value)}
      />
    );
  return (
    <input
      {...told}
      type="text"
      // a field for numbers gives no text at all for one that is half written, such as 1e-
      inputMode={option.kind === "number" || option.kind === "integer" ? "decimal" : undefined}
      placeholder={usual === "" && option.kind === "string" ? (option.placeholder ?? "") : usual}
      list={key === "model" ? "models" : undefined}
      value={text}
      onInput={(event) => set(event.currentTarget.value)}
    />
  );
}

const mapPlaceholder = ({ lists }: { readonly lists?: true }) =>
  lists ? "name=values, with commas between them, one name a line" : "name=text, one a line";

/** Some rows as the model would read them, before anything is trained. */
function Rows({ values }: { readonly values: Readonly<Record<string, unknown>> }) {
  const { busy, error, run } = useAction();
  /** Of which options the rows are, or were asked. */
  const [asked, setAsked] = useState<string | null>(null);
  const [found, setFound] = useState<{ readonly of: string; readonly preview: Preview } | null>(null);
  const key = JSON.stringify(values);
  const show = () =>
    run(async () => {
      setAsked(key);
      setFound({ of: key, preview: await api.preview(values) });
    });
  // rows of other options are not these
  const preview = found?.of === key ? found.preview : null;
  return (
    <Section title="Rows">
      <button type="button" disabled={busy} onClick={show}>
        {busy ? "reading the rows …" : "Show rows as the model will read them"}
      </button>
      <Problem error={asked === key ? error : null} />
      {preview?.splits.map((split) => (
        <SplitRows split={split} key={split.split} />
      ))}
      {preview?.notices.map((notice) => (
        <p class="soft" key={notice}>
          {notice}
        </p>
      ))}
    </Section>
  );
}

function SplitRows({
  split: { split, rows, labels, tokens, examples },
}: {
  readonly split: Preview["splits"][number];
}) {
  return (
    <div>
      <h3>
        {split}: {rows} rows
      </h3>
      <p class="soft">
        {Object.entries(labels)
          .slice(0, 12)
          .map(([label, count]) => `${label} ${count}`)
          .join(" · ")}
      </p>
      {tokens !== null && (
        <p class="soft">
          tokens: median {tokens.median}, longest {tokens.longest}; {tokens.cut} rows are cut
        </p>
      )}
      {examples.map((row, i) => (
        // a row is its place: texts may repeat
        <Example row={row} key={i} />
      ))}
    </div>
  );
}

/** What the model reads of a row, which of a long one is not all. */
const Example = ({ row: { input, target, read, tokensCut } }: { readonly row: ShownRow }) => (
  <p class="example">
    {read ?? input} <b>{target}</b>
    {read !== undefined && <span class="soft"> (the model reads this, {tokensCut} tokens are cut)</span>}
  </p>
);
