/** Error rates as curves: both axes logarithmic, so that 1e-4 is as well seen as .5. */

import { useId } from "preact/hooks";

import { number, percent, rate } from "../format";
import { t } from "../texts";

export interface Curve {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

const WIDTH = 640;
const HEIGHT = 400;
const LEFT = 60;
const RIGHT = 12;
const TOP = 12;
const BOTTOM = 46;
export const COLOURS = 8;

function decades(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

function lowest(values: readonly number[], least: number): number {
  const positive = values.filter((each) => each > 0);
  const exponent = positive.length > 0 ? Math.floor(Math.log10(Math.min(...positive))) : -1;
  return Math.max(least, Math.min(-1, exponent));
}

function Legend({ names }: { names: readonly string[] }) {
  return (
    <ul class="legend" aria-label={t("chart.curves")}>
      {names.map((name, index) => (
        <li key={name}>
          <svg width="22" height="8" aria-hidden="true" class={`curve c${index % COLOURS}`}>
            <polyline points="0,4 22,4" />
          </svg>
          {name}
        </li>
      ))}
    </ul>
  );
}

/** A DET curve: FNMR against FMR. Points at 0 stand on the edge of the picture. */
export function DetChart({ curves, title }: { curves: readonly Curve[]; title: string }) {
  const id = useId();
  const all = curves.flatMap((curve) => curve.points);
  const lowX = lowest(all.map(([x]) => x), -7);
  const lowY = lowest(all.map(([, y]) => y), -3);
  const x = (value: number): number => {
    const at = Math.max(lowX, Math.log10(Math.max(value, 1e-12)));
    return LEFT + ((WIDTH - LEFT - RIGHT) * (at - lowX)) / -lowX;
  };
  const y = (value: number): number => {
    const at = Math.max(lowY, Math.log10(Math.max(value, 1e-12)));
    return HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * (at - lowY)) / -lowY;
  };
  return (
    <figure class="chart">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-labelledby={id}>
        <title id={id}>{title}</title>
        {decades(lowX, 0).map((each) => (
          <g key={each}>
            <line class="grid" x1={x(10 ** each)} x2={x(10 ** each)} y1={TOP} y2={HEIGHT - BOTTOM} />
            <text class="axis" x={x(10 ** each)} y={HEIGHT - BOTTOM + 18} text-anchor="middle">
              {each === 0 ? "1" : `1e${each}`}
            </text>
          </g>
        ))}
        {decades(lowY, 0).map((each) => (
          <g key={each}>
            <line class="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y(10 ** each)} y2={y(10 ** each)} />
            <text class="axis" x={LEFT - 8} y={y(10 ** each) + 4} text-anchor="end">
              {percent(10 ** each, 1)}
            </text>
          </g>
        ))}
        <text class="axis" x={(LEFT + WIDTH - RIGHT) / 2} y={HEIGHT - 6} text-anchor="middle">
          FMR
        </text>
        <text class="axis" x={14} y={TOP + 10}>
          FNMR
        </text>
        {curves.map((curve, index) => (
          <g key={curve.name} class={`curve c${index % COLOURS}`}>
            <polyline points={curve.points.map(([px, py]) => `${x(px)},${y(py)}`).join(" ")} />
            {curve.points.length <= 12 &&
              curve.points.map(([px, py]) => (
                <circle key={px} cx={x(px)} cy={y(py)} r="3.5">
                  <title>{`${curve.name}: FNMR ${percent(py)} · FMR ${rate(px)}`}</title>
                </circle>
              ))}
          </g>
        ))}
      </svg>
      <figcaption>
        <Legend names={curves.map((curve) => curve.name)} />
      </figcaption>
    </figure>
  );
}

/** Counts of scores of two kinds in the same bins, each kind as shares of its own, with thresholds as lines. */
export function HistogramChart(props: {
  title: string;
  edges: readonly number[];
  kinds: readonly { readonly name: string; readonly counts: readonly number[] }[];
  limits: readonly { readonly name: string; readonly at: number }[];
}) {
  const id = useId();
  const { edges } = props;
  const low = edges[0] ?? 0;
  const high = edges[edges.length - 1] ?? 1;
  const shares = props.kinds.map(({ counts }) => {
    const total = Math.max(1, counts.reduce((sum, each) => sum + each, 0));
    return counts.map((each) => each / total);
  });
  const top = Math.max(...shares.flat(), 1e-9);
  const x = (value: number): number => LEFT + ((WIDTH - LEFT - RIGHT) * (value - low)) / (high - low);
  const y = (share: number): number => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * share) / top;
  const outline = (one: readonly number[]): string => {
    const steps = one.flatMap((share, bin) => [
      `${x(edges[bin] ?? low)},${y(share)}`,
      `${x(edges[bin + 1] ?? high)},${y(share)}`,
    ]);
    return [`${x(low)},${y(0)}`, ...steps, `${x(high)},${y(0)}`].join(" ");
  };
  const ticks = Array.from({ length: 6 }, (_, step) => low + ((high - low) * step) / 5);
  return (
    <figure class="chart">
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-labelledby={id}>
        <title id={id}>{props.title}</title>
        {ticks.map((each) => (
          <g key={each}>
            <line class="grid" x1={x(each)} x2={x(each)} y1={TOP} y2={HEIGHT - BOTTOM} />
            <text class="axis" x={x(each)} y={HEIGHT - BOTTOM + 18} text-anchor="middle">
              {number(each, 2)}
            </text>
          </g>
        ))}
        {[0, top / 2, top].map((each) => (
          <g key={each}>
            <line class="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y(each)} y2={y(each)} />
            <text class="axis" x={LEFT - 8} y={y(each) + 4} text-anchor="end">
              {percent(each, 0)}
            </text>
          </g>
        ))}
        <text class="axis" x={(LEFT + WIDTH - RIGHT) / 2} y={HEIGHT - 6} text-anchor="middle">
          {t("score")}
        </text>
        {shares.map((one, index) => (
          <g key={props.kinds[index]?.name} class={`curve area c${index % COLOURS}`}>
            <polyline points={outline(one)} />
          </g>
        ))}
        {props.limits
          .filter(({ at }) => at >= low && at <= high)
          .map(({ name, at }, index) => (
            <g key={name} class="limit">
              <line x1={x(at)} x2={x(at)} y1={TOP} y2={HEIGHT - BOTTOM} />
              <text
                class="axis"
                x={x(at) + (at > (low + high) / 2 ? -5 : 5)}
                y={TOP + 12 + 15 * index}
                text-anchor={at > (low + high) / 2 ? "end" : "start"}
              >
                {name}
              </text>
            </g>
          ))}
      </svg>
      <figcaption>
        <Legend names={props.kinds.map(({ name }) => name)} />
      </figcaption>
    </figure>
  );
}
