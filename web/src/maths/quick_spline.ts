// The two kinds of increasing maps of one number, with parameters interpolated between rows of a table.

import { knots, softplus } from "./univariate";
import type { UnivariateJson } from "../protocol";

/** Rows of numbers, each the parameters of an increasing map: what is computed once for many points. */
export interface Table {
  /** How many numbers a row has. */
  width: number;
  rows: Float64Array;
}

/** Writes one row of a table from the parameters that a network gives. */
export function writeRow(json: UnivariateJson, params: ArrayLike<number>, free: number, table: Table, row: number): void {
  const at = row * table.width;
  if (json.type === "affine") {
    table.rows[at] = json.bound * Math.tanh(params[1] / json.bound) + free;
    table.rows[at + 1] = params[0];
    return;
  }
  const { bins } = json;
  table.rows.set(knots(json, params, 0), at);
  table.rows.set(knots(json, params, bins), at + bins + 1);
  const inside = json.tails === "identity";
  const one = Math.log(Math.expm1(1 - json.min_slope));
  for (let k = 0; k <= bins; k++) {
    const raw = params[2 * bins + (inside ? k - 1 : k)];
    const slope = inside && (k === 0 || k === bins) ? 1 : softplus(raw + one) + json.min_slope;
    table.rows[at + 2 * (bins + 1) + k] = slope;
  }
}

export function widthOf(json: UnivariateJson): number {
  return json.type === "affine" ? 2 : 3 * (json.bins + 1);
}

/** log-slope of the last map that was applied. */
export let logSlope = 0;

/** Applies the map of a place between two rows (a share `part` from row to row + 1), or its inverse. */
export function applyRow(json: UnivariateJson, table: Table, row: number, part: number, value: number, back: boolean): number {
  const { rows, width } = table;
  const low = row * width;
  const high = part > 0 ? low + width : low;
  const number = (k: number): number => rows[low + k] + part * (rows[high + k] - rows[low + k]);
  if (json.type === "affine") {
    const [log, shift] = [number(0), number(1)];
    logSlope = back ? -log : log;
    return back ? (value - shift) * Math.exp(-log) : value * Math.exp(log) + shift;
  }
  const { bins, bound } = json;
  const [ys, slopes] = [bins + 1, 2 * (bins + 1)];
  if (Math.abs(value) >= bound) {
    const slope = json.tails === "identity" ? 1 : number(slopes + (value < 0 ? 0 : bins));
    const end = value < 0 ? -bound : bound;
    logSlope = back ? -Math.log(slope) : Math.log(slope);
    return back ? end + (value - end) / slope : end + (value - end) * slope;
  }
  const searched = back ? ys : 0;
  let k = 0;
  while (k < bins - 1 && value >= number(searched + k + 1)) k++;
  const [x0, y0] = [number(k), number(ys + k)];
  const [wide, tall] = [number(k + 1) - x0, number(ys + k + 1) - y0];
  const [s, d0, d1] = [tall / wide, number(slopes + k), number(slopes + k + 1)];
  const bend = d0 + d1 - 2 * s;
  let t = (value - x0) / wide;
  if (back) {
    const dy = value - y0;
    const [a, b, c] = [tall * (s - d0) + dy * bend, tall * d0 - dy * bend, -s * dy];
    t = (2 * c) / (-b - Math.sqrt(Math.max(0, b * b - 4 * a * c)));
  }
  t = Math.min(1, Math.max(0, t));
  const across = t * (1 - t);
  const below = s + bend * across;
  const log = Math.log((s * s * (d1 * t * t + 2 * s * across + d0 * (1 - t) * (1 - t))) / (below * below));
  logSlope = back ? -log : log;
  return back ? x0 + t * wide : y0 + (tall * (s * t * t + d0 * across)) / below;
}
