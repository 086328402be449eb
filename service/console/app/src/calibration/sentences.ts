/** Says in the chosen language what an evaluation found; the numbers are the service's. */

import { number, percent, rate } from "../format";
import { t, type TextKey, tn } from "../texts";
import type { AcquisitionFacts, Interval, PairFacts } from "./facts";

const LEAST_PEOPLE = 10;
/** Independent comparisons for each false match that an FMR allows: the rule of three. */
const WORTH = 3;

/** Such as `masked NIR`, of `nir-masked`. */
export function conditionText(condition: string): string {
  const [spectrum = "", mask = ""] = condition.split("-");
  return t(`condition.${mask}` as TextKey, { spectrum: spectrum.toUpperCase() });
}

export function pairText(pair: string): string {
  const [reference = "", probe = ""] = pair.split("/");
  return t("calibration.pair", { probe: conditionText(probe), reference: conditionText(reference) });
}

export function withCamera(text: string, camera: string | null): string {
  return camera === null ? text : t("calibration.at", { text, camera });
}

/** Such as `412 masked NIR probes of 38 people against unmasked VIS references: supports FMR 1e-3`. */
export function coverageText({ camera, pair, coverage }: PairFacts): string {
  const [reference = "", probe = ""] = pair.split("/");
  const what = t("coverage.what", {
    probes: tn("coverage.probes", coverage.probes, { condition: conditionText(probe) }),
    people: tn("coverage.people", coverage.people),
    reference: conditionText(reference),
  });
  const supports =
    coverage.supports === null ? t("coverage.none") : t("coverage.supports", { fmr: rate(coverage.supports) });
  return `${withCamera(what, camera)}: ${supports}`;
}

/** What more photos would bring; empty where every FMR that was asked for is supported. */
export function limitText({ coverage }: PairFacts): string {
  if (coverage.limit === "people") return t("coverage.limit.people", { n: coverage.people, least: LEAST_PEOPLE });
  if (coverage.next_fmr === null) return "";
  const fmr = rate(coverage.next_fmr);
  if (coverage.limit === "scores") return t("coverage.limit.scores", { fmr });
  return t("coverage.limit.comparisons", {
    fmr,
    needed: number(Math.ceil(WORTH / coverage.next_fmr)),
    worth: number(Math.round(coverage.independent)),
  });
}

export function acquisitionText(one: AcquisitionFacts): string {
  const role = one.role === "reference" ? "fte" : "fta";
  const said = withCamera(t(`acquired.${role}`, { failed: number(one.failed), attempts: number(one.attempts) }), one.camera);
  const share = one.rate === null ? "" : ` (${intervalText(one.rate)})`;
  const broken = one.broken > 0 ? ` ${tn("acquired.broken", one.broken)}` : "";
  return `${said}${share}.${broken}`;
}

/** A rate with its 95 % interval. */
export function intervalText(found: Interval | null): string {
  return found === null ? "–" : `${percent(found.value)} [${percent(found.low)}, ${percent(found.high)}]`;
}
