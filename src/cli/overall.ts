/**
 * @file How long a study or a search will still take, by what it took so far. In: pieces of work as they end. Out: words.
 */
import { secondText } from "../report/format.js";

/** What was read back instead of done ends within this time, in seconds, and says nothing of the pace. */
const readBack = 0.3;

export interface Overall {
  /** A piece of work begins. */
  begin(): void;
  /** It ended; `left` of its size are still to do. @returns "about 3 min left in all", or "" where that cannot be said. */
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
