/** @file The page: its bar, and the view of the place that the address names. */
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { api } from "./api.js";
import { Compare } from "./compare.jsx";
import { New } from "./form.jsx";
import { Home } from "./home.jsx";
import { Job } from "./job.jsx";
import { Problem } from "./parts.jsx";
import { Run } from "./run.jsx";
import { linkTo, type Place, Studio, useAsked, usePlace } from "./state.js";
import { Try } from "./try.jsx";

/** Milliseconds between two looks at the runs and commands. */
const lookEvery = 2000;

const views = {
  "": { title: "runs", show: () => <Home /> },
  run: { title: "run", show: ({ query }) => <Run path={query.get("path") ?? ""} key={String(query)} /> },
  new: { title: "new", show: ({ query }) => <New query={query} key={String(query)} /> },
  job: { title: "command", show: ({ query }) => <Job id={query.get("id") ?? ""} /> },
  compare: { title: "compare", show: ({ query }) => <Compare paths={query.getAll("path")} key={String(query)} /> },
  try: { title: "try", show: ({ query }) => <Try paths={query.getAll("path")} key={String(query)} /> },
} satisfies Record<string, { title: string; show: (place: Place) => preact.JSX.Element }>;

export function App() {
  const place = usePlace();
  const { value: state, error, again } = useAsked(() => api.state(), "state", lookEvery);
  const view = Object.hasOwn(views, place.name) ? views[place.name as keyof typeof views] : views[""];
  useEffect(() => {
    document.title = `${place.query.get("path") ?? view.title} – softprompt studio`;
  }, [place.query, view]);
  const running = state?.jobs.filter(({ ended }) => ended === null).length ?? 0;
  return (
    <>
      <header>
        <a href={linkTo("")} class="name">
          softprompt studio
        </a>
        <code class="soft" title={state?.folder}>
          {state?.folder.split(/[\\/]/).at(-1)}
        </code>
        <nav>
          {running > 0 && <span class="badge running">{running} running</span>}
          {state?.readOnly === false && <a href={linkTo("new")}>New</a>}
          <a href={linkTo("try")}>Try</a>
        </nav>
      </header>
      <main>
        <Problem error={error} />
        {state !== null && <Studio.Provider value={{ state, again }}>{view.show(place)}</Studio.Provider>}
      </main>
    </>
  );
}

// the cookie has the token now: the address, which the history keeps, needs it no more
if (location.search !== "") history.replaceState(null, "", location.pathname + location.hash);
const root = document.getElementById("page");
if (root !== null) {
  root.replaceChildren();
  render(<App />, root);
}
