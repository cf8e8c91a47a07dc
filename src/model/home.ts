/**
 * @file The user's home folder, for caches. Out: its path; null where there is none (no HOME, and a uid that no account has).
 */
import { homedir } from "node:os";

export function homeFolder(): string | null {
  try {
    return homedir() || null;
  } catch {
    return null;
  }
}
