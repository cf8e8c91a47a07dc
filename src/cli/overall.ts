/**
 * @file Estimates the remaining time of a search from the time so far. In: pieces of work as they end. Out: a text.
 */
import { aboutText } from "../report/format.js";
import { readBack } from "../study/left.js";

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
      return done === 0 || left <= 0 ? "" : leftText((seconds / done) * left);
    },
  };
}

/** "about 40 min left in all" */
export const leftText = (seconds: number): string => `${aboutText(seconds)} left in all`;
