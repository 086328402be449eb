/** Says in plain words why something was refused, and what to do next. */

import { Problem } from "../api/client";
import { has, t, type TextKey } from "../texts";
import { Button, Note } from "./basics";

/** The texts of a code: its own, else those of its status. */
function keyOf(problem: Problem): string {
  if (has(`problem.${problem.code}`)) return problem.code;
  if (problem.status === 0) return "unreachable";
  if (problem.status === 429) return "rate_limited";
  if (problem.status === 404) return "not_found";
  if (problem.status === 409) return "conflict";
  if (problem.status === 413) return "image_too_large";
  if (problem.status === 503) return "overloaded";
  return problem.status >= 500 ? "internal_error" : "other";
}

export function problemTitle(problem: Problem): string {
  return t(`problem.${keyOf(problem)}` as TextKey);
}

export function problemAdvice(problem: Problem): string {
  const key = `problem.${keyOf(problem)}.do`;
  return has(key) ? t(key as TextKey) : "";
}

export function ProblemNote({ problem, onRetry }: { problem: Problem; onRetry?: () => void }) {
  const advice = problemAdvice(problem);
  return (
    <Note tone="bad" title={problemTitle(problem)}>
      {advice && <p>{advice}</p>}
      {problem.retryAfterS !== null && <p>{t("retry.after", { n: problem.retryAfterS })}</p>}
      {problem.detail && (
        <details>
          <summary>{t("problem.details")}</summary>
          <p class="mono" lang="en">
            {problem.code}: {problem.detail}
          </p>
        </details>
      )}
      {onRetry && (
        <p>
          <Button onClick={onRetry}>{t("retry")}</Button>
        </p>
      )}
    </Note>
  );
}
