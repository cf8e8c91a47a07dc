/**
 * @file Estimates the remaining time of a study or a search from the time so far. In: pieces of work as they end. Out: a text.
 */
import { secondText } from "../report/format.js";

/** Pieces that end within this time, in seconds, were read back instead of computed, so they are ignored for the pace. */
const readBack = 0.3;

export interface Overall {
  /** A piece of work begins. */
  begin(): void;
  /** It ended; `left` of its size are still to do. @returns "about 3 min left in all", or "" if there is no estimate. */
  end(left: number, size?: number): string;
}

/** @param now seconds, monotonic. */
export function overall(now = () => performance.now() / 1000): Overall {
  let [begun, seconds, done] = [now(), 0, 0];
  return {
    begin: () => {
      begun = now();
    },
    end: (left, size = 1) => {
      const taken = now() - begun;
      if (taken > readBack) {
        seconds += taken;
        done += size;
      }
      begun = now();
      return done === 0 || left <= 0 ? "" : `about ${secondText((seconds / done) * left)} left in all`;
    },
  };
}
