/** What nobody may overlook: that by default nothing looks for a living face. */

import { t } from "../texts";
import { Badge, Note } from "./basics";

export function NoLiveness() {
  return (
    <Note tone="warn" title={t("noliveness")}>
      <p>{t("noliveness.told")}</p>
    </Note>
  );
}

export function LivenessBadge({ liveness }: { liveness: "none" | "live" | "denied" }) {
  if (liveness === "none") return <Badge tone="warn">{t("noliveness.short")}</Badge>;
  return <Badge tone={liveness === "live" ? "good" : "bad"}>{t(`liveness.${liveness}`)}</Badge>;
}
