/** Error rates as curves: both axes logarithmic, so that 1e-4 is as well seen as .5. */

import { useId } from "preact/hooks";

import { percent, rate } from "../format";
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
        <ul class="legend" aria-label={t("chart.curves")}>
          {curves.map((curve, index) => (
            <li key={curve.name}>
              <svg width="22" height="8" aria-hidden="true" class={`curve c${index % COLOURS}`}>
                <polyline points="0,4 22,4" />
              </svg>
              {curve.name}
            </li>
          ))}
        </ul>
      </figcaption>
    </figure>
  );
}
