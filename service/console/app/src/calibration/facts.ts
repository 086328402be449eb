/** What an evaluation by the service measured: the metrics of its job (`service/evaluation/figures.py`). */

import type { Schemas } from "../api/client";

export interface Interval {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface Coverage {
  readonly probes: number;
  readonly people: number;
  readonly comparisons: number;
  readonly independent: number;
  readonly supports: number | null;
  readonly limit: "people" | "comparisons" | "scores" | null;
  readonly next_fmr: number | null;
}

export interface Point {
  readonly fmr: number;
  readonly threshold: number;
  readonly false_matches: number;
  readonly fmr_upper: number;
  readonly fnmr: Interval | null;
  readonly method: "observed" | "extrapolated";
}

export interface Histogram {
  readonly edges: readonly number[];
  readonly mated: readonly number[];
  readonly non_mated: readonly number[];
}

export interface PairFacts {
  readonly camera: string | null;
  /** Such as `vis-unmasked/nir-masked`: the reference's condition, then the probe's. */
  readonly pair: string;
  readonly coverage: Coverage;
  readonly suggested: readonly Point[];
  readonly in_force: readonly Point[];
  readonly det: readonly { readonly fmr: number; readonly fnmr: number }[];
  readonly histogram: Histogram;
}

export interface SearchFacts {
  readonly source: "suggested" | "in_force";
  readonly fmr: number;
  readonly fpir: Interval;
  readonly fpir_at_gallery: Interval | null;
  readonly fnir: Interval | null;
}

export interface IdentificationFacts {
  readonly camera: string | null;
  readonly condition: string;
  readonly searches: number;
  readonly references: number;
  readonly enrolled: number;
  readonly rank1: Interval | null;
  readonly at: readonly SearchFacts[];
}

export interface AcquisitionFacts {
  readonly role: "reference" | "probe";
  readonly camera: string | null;
  readonly attempts: number;
  readonly failed: number;
  readonly rate: Interval | null;
  readonly broken: number;
}

export interface Facts {
  readonly kind: typeof KIND;
  readonly made_at: string;
  readonly space_id: string;
  readonly bundle: string;
  readonly gallery_templates: number | null;
  readonly default_fmr: number | null;
  /** Whose the references are: the sent ones, or those of the enrolled gallery. */
  readonly against: "set" | "gallery";
  readonly subjects: number;
  readonly references: number;
  readonly probes: number;
  readonly acquisition: readonly AcquisitionFacts[];
  readonly pairs: readonly PairFacts[];
  readonly identification: readonly IdentificationFacts[];
  readonly thresholds: Schemas["InstallIn"]["thresholds"] | null;
}

const KIND = "halflight-evaluation";

/** The facts of a finished job; null if it measured something else, such as the training package's figures. */
export function factsOf(metrics: Readonly<Record<string, unknown>>): Facts | null {
  return metrics["kind"] === KIND ? (metrics as unknown as Facts) : null;
}
