/** A comparison score beside its threshold. */

import { rate, score as scoreText } from "../format";
import { t } from "../texts";

// The threshold stands at the same place on every scale, whatever its value: what is right of it is a match.
const THRESHOLD_AT = 60;
const LOWEST = -0.1;

function place(value: number, threshold: number): number {
  const at =
    value < threshold
      ? (THRESHOLD_AT * (value - LOWEST)) / (threshold - LOWEST)
      : THRESHOLD_AT + ((100 - THRESHOLD_AT) * (value - threshold)) / (1 - threshold);
  return Math.max(0, Math.min(100, at));
}

export interface Tick {
  readonly fmr: number;
  readonly threshold: number;
}

/** `threshold`: null where the pair of conditions is not calibrated, and then nothing says what a score means. */
export function ScoreScale(props: {
  score: number;
  threshold: number | null;
  fmr?: number | null;
  /** Other calibrated points of the same pair. */
  ticks?: readonly Tick[];
}) {
  const { score, threshold } = props;
  if (threshold === null) {
    return (
      <span class="score uncalibrated">
        <b>{scoreText(score)}</b> <span class="told">{t("score.uncalibrated")}</span>
      </span>
    );
  }
  const accepted = score >= threshold;
  const told = t(accepted ? "score.above" : "score.below", {
    score: scoreText(score),
    threshold: scoreText(threshold),
    fmr: rate(props.fmr),
  });
  const at = place(score, threshold);
  return (
    <span class={accepted ? "score good" : "score"} role="img" aria-label={told} title={told}>
      <b aria-hidden="true">{scoreText(score)}</b>
      <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
        <rect class="track" x="0" y="3" width="100" height="4" rx="2" />
        <rect class="fill" x="0" y="3" width={at} height="4" rx="2" />
        {(props.ticks ?? []).map((tick) => (
          <rect
            key={tick.fmr}
            class="tick"
            x={place(tick.threshold, threshold) - 0.25}
            y="2"
            width="0.5"
            height="6"
          />
        ))}
        <rect class="threshold" x={THRESHOLD_AT - 0.5} y="0" width="1" height="10" />
      </svg>
    </span>
  );
}
