/** @file One command that was started here: how far it is, what it says, and why it failed. */
import type { JobState } from "../protocol.js";
import { fileAddress } from "./api.js";
import { whenText } from "./home.jsx";
import { Badge, Section, Told } from "./parts.jsx";
import { linkTo, useStudio } from "./state.js";

export function Job({ id }: { readonly id: string }) {
  const { state } = useStudio();
  const job = state.jobs.find((one) => one.id === id);
  if (job === undefined) return <p>This command is not known any more.</p>;
  return <OneJob job={job} run={state.runs.some(({ path }) => path === job.path)} />;
}

function OneJob({ job, run }: { readonly job: JobState; readonly run: boolean }) {
  const { state } = useStudio();
  const { command, status, path, line, lines, error, asked, ended } = job;
  return (
    <>
      <h1>
        {command} {path} <Badge state={status} />
      </h1>
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
        {ended !== null && !state.readOnly && (
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
        <pre class="log" aria-live="polite">
          {lines.length === 0 ? (status === "waiting" ? "waiting for the commands before it" : "…") : lines.join("\n")}
        </pre>
      </Section>
      <Section title="The same on the command line">
        <pre>{line}</pre>
      </Section>
    </>
  );
}
