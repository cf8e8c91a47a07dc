/** @file One command that was started here: how far it is, what it says, and why it failed. */
import { useLayoutEffect, useRef } from "preact/hooks";
import type { JobState } from "../protocol.js";
import { api, fileAddress } from "./api.js";
import { whenText } from "./home.jsx";
import { Badge, Heading, Problem, Section, Told } from "./parts.jsx";
import { linkTo, useAction, useStudio } from "./state.js";

export function Job({ id }: { readonly id: string }) {
  const { state } = useStudio();
  const job = state.jobs.find((one) => one.id === id);
  if (job === undefined)
    return <p>This command is not known: it was hidden, or it ran before the studio was started again.</p>;
  return <OneJob job={job} run={state.runs.some(({ path }) => path === job.path)} />;
}

function OneJob({ job, run }: { readonly job: JobState; readonly run: boolean }) {
  const { state } = useStudio();
  const { command, status, path, line, error, asked, ended } = job;
  return (
    <>
      <Heading>
        {command} {path} <Badge state={status} />
      </Heading>
      <p class="lead">
        asked {whenText(asked)}
        {ended !== null && `, ended ${whenText(ended)}`}
        {run && path !== null && (
          <>
            {" · "}
            <a href={linkTo("run", [["path", path]])}>its run</a>
          </>
        )}
        {status === "done" && path !== null && (
          <>
            {" · "}
            <a href={fileAddress(path, "report.html")} target="_blank" rel="noreferrer">
              report
            </a>
          </>
        )}
        {(status === "stopped" || status === "failed") && severalCommands.has(command) && path !== null && (
          <>
            {" · "}
            <GoOn job={job} path={path} />
          </>
        )}
        {status === "done" && command === "sweep" && path !== null && (
          <>
            {" · "}
            <a href={fileAddress(path, "best.yaml")} target="_blank" rel="noreferrer">
              the best setting, for train
            </a>
          </>
        )}
        {/* a run that was gone on with keeps its options: only its steps could be others */}
        {ended !== null && !state.readOnly && job.options.resume === undefined && (
          <>
            {" · "}
            <a
              href={linkTo("new", [
                ["command", command],
                ["job", job.id],
              ])}
            >
              change and start again
            </a>
          </>
        )}
      </p>
      {error !== null && <Told error={error} />}
      <Section title="Progress">
        <Log job={job} />
      </Section>
      <Section title="The same on the command line">
        <pre>{line}</pre>
      </Section>
    </>
  );
}

/** They keep what has ended, and go on where they are asked again with the same folder. */
const severalCommands: ReadonlySet<string> = new Set(["sweep", "compare"]);

function GoOn({ job: { command, options }, path }: { readonly job: JobState; readonly path: string }) {
  const { state, again } = useStudio();
  const { busy, error, run } = useAction();
  const start = () =>
    run(async () => {
      const next = await api.start(command, { ...options, output: `${state.folder}/${path}` });
      again();
      location.hash = linkTo("job", [["id", next.id]]);
    });
  return (
    <>
      <button type="button" disabled={busy || state.readOnly} onClick={start}>
        Go on
      </button>
      <Problem error={error} />
    </>
  );
}

/** Pixels from its end within which a log counts as read to the end. */
const nearEnd = 20;

/** What a command says. It follows the end, unless the reader has gone back in it. */
function Log({ job: { lines, linesBefore, status } }: { readonly job: JobState }) {
  const at = useRef<HTMLPreElement>(null);
  const follows = useRef(true);
  const last = linesBefore + lines.length;
  useLayoutEffect(() => {
    if (at.current !== null && follows.current && last > 0) at.current.scrollTop = at.current.scrollHeight;
  }, [last]);
  const scrolled = ({
    currentTarget: { scrollTop, clientHeight, scrollHeight },
  }: {
    currentTarget: HTMLPreElement;
  }) => {
    follows.current = scrollTop + clientHeight >= scrollHeight - nearEnd;
  };
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard
    <pre class="log" role="log" aria-label="what the command says" tabIndex={0} ref={at} onScroll={scrolled}>
      {lines.length === 0 && (status === "waiting" ? "waiting for the commands before it" : "…")}
      {/* an element for each line: what is new alone is read aloud */}
      {lines.map((line, i) => (
        <span key={linesBefore + i}>{`${line}\n`}</span>
      ))}
    </pre>
  );
}
