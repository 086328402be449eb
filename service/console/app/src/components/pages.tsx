/** The end of a list that comes in pages. */

import type { Pages } from "../hooks";
import { t } from "../texts";
import { Button } from "./basics";
import { ProblemNote } from "./problem";

export function MorePages({ pages, shown }: { pages: Pick<Pages<unknown>, "whole" | "more">; shown: string }) {
  const { whole, more } = pages;
  return (
    <>
      <p class="row told">
        {shown}
        {!whole && (
          <Button busy={more.busy} onClick={() => void more.run()}>
            {t("more")}
          </Button>
        )}
      </p>
      {more.problem && <ProblemNote problem={more.problem} />}
    </>
  );
}
