/** What the service says about a face: condition, quality and its reasons, in plain words. */

import type { Schemas } from "../api/client";
import { number } from "../format";
import { has, t, type TextKey } from "../texts";
import { Badge, Meter, type Tone } from "./basics";

export function Conditions({ spectrum, maskState }: { spectrum: string; maskState: string }) {
  return (
    <>
      <Badge tone={spectrum === "nir" ? "info" : "neutral"}>{spectrum === "nir" ? "NIR" : "VIS"}</Badge>
      <Badge tone={maskState === "unmasked" ? "neutral" : "warn"} icon="mask">
        {has(`mask.${maskState}`) ? t(`mask.${maskState}` as TextKey) : maskState}
      </Badge>
    </>
  );
}

// The service refuses to enrol below 20 unless told otherwise; from 60 on nothing stands out.
export function qualityTone(score: number): Tone {
  return score >= 60 ? "good" : score >= 30 ? "warn" : "bad";
}

export function reasonText(reason: string): string {
  return has(`reason.${reason}`) ? t(`reason.${reason}` as TextKey) : reason;
}

export function QualityLine({ quality }: { quality: Schemas["QualityOut"] }) {
  return (
    <div class="quality">
      <span class="row tight">
        <span class="told">{t("quality")}</span>
        <Meter
          value={quality.score}
          label={t("quality.of", { n: quality.score })}
          tone={qualityTone(quality.score)}
        />
        <span class="told">{t("quality.eyes", { n: number(quality.inter_eye_px) })}</span>
      </span>
      {quality.reasons.length > 0 && (
        <ul class="reasons">
          {quality.reasons.map((reason) => (
            <li key={reason}>{reasonText(reason)}</li>
          ))}
        </ul>
      )}
    </div>
  );
}

export function Decision({ decision }: { decision: string }) {
  const tone: Tone = decision === "match" ? "good" : decision === "uncalibrated" ? "bad" : "warn";
  return (
    <Badge tone={tone}>{has(`decision.${decision}`) ? t(`decision.${decision}` as TextKey) : decision}</Badge>
  );
}
