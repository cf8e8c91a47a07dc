/**
 * @file Which names of adapters a hub is asked for. In: a name, the folders that exist. Out: yes or no.
 */
import { existsSync } from "node:fs";

/**
 * An organisation and a name. A path whose first folder exists is a misspelt path, and no hub is asked for it.
 */
export function isHubAdapter(name: string): boolean {
  return (
    /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*(@.+)?$/.test(name) &&
    !existsSync(name) &&
    !existsSync(name.slice(0, name.indexOf("/"))) &&
    !/\.npy$/i.test(name)
  );
}
