// Increasing maps of one variable with parameters, as in `pushforward.univariate`.

import type { Point, UnivariateJson } from "../protocol";

/** An increasing map of one variable: (value, parameters, free parameter, whether backwards) to (value, log-slope). */
export type Increasing = (value: number, params: ArrayLike<number>, free: number, back: boolean) => Point;

export function increasing(json: UnivariateJson): Increasing {
  if (json.type === "spline") return (value, params, _free, back) => spline(json, value, params, back);
  return (value, params, free, back) => {
    const log = json.bound * Math.tanh(params[1] / json.bound) + free;
    return back ? [(value - params[0]) * Math.exp(-log), -log] : [value * Math.exp(log) + params[0], log];
  };
}

/** The rational-quadratic spline of Durkan et al. (2019), arXiv:1906.04032. */
function spline(
  json: Extract<UnivariateJson, { type: "spline" }>, value: number, params: ArrayLike<number>, back: boolean,
): Point {
  const { bins, bound, tails } = json;
  const outside = Math.abs(value) >= bound;
  if (outside && tails === "identity") return [value, 0];
  const [xs, ys] = [knots(json, params, 0), knots(json, params, bins)];
  const slope = (k: number): number => {
    if (tails === "identity" && (k === 0 || k === bins)) return 1;
    const raw = params[2 * bins + (tails === "identity" ? k - 1 : k)];
    return softplus(raw + Math.log(Math.expm1(1 - json.min_slope))) + json.min_slope;
  };
  if (outside) {
    const log = Math.log(slope(value < 0 ? 0 : bins));
    const end = value < 0 ? -bound : bound;
    return back ? [end + (value - end) * Math.exp(-log), -log] : [end + (value - end) * Math.exp(log), log];
  }
  const search = back ? ys : xs;
  let k = 0;
  while (k < bins - 1 && value >= search[k + 1]) k++;
  const [width, height] = [xs[k + 1] - xs[k], ys[k + 1] - ys[k]];
  const [s, d0, d1] = [height / width, slope(k), slope(k + 1)];
  const bend = d0 + d1 - 2 * s;
  let t: number;
  if (back) {
    const dy = value - ys[k];
    const [a, b, c] = [height * (s - d0) + dy * bend, height * d0 - dy * bend, -s * dy];
    t = clampUnit((2 * c) / (-b - Math.sqrt(Math.max(0, b * b - 4 * a * c))));
  } else t = clampUnit((value - xs[k]) / width);
  const across = t * (1 - t);
  const below = s + bend * across;
  const log = Math.log((s * s * (d1 * t * t + 2 * s * across + d0 * (1 - t) * (1 - t))) / (below * below));
  return back ? [xs[k] + t * width, -log] : [ys[k] + (height * (s * t * t + d0 * across)) / below, log];
}

export function knots(json: Extract<UnivariateJson, { type: "spline" }>, params: ArrayLike<number>, from: number): Float64Array {
  const { bins, bound, min_bin } = json;
  let highest = -Infinity;
  for (let k = 0; k < bins; k++) highest = Math.max(highest, params[from + k]);
  let total = 0;
  for (let k = 0; k < bins; k++) total += Math.exp(params[from + k] - highest);
  const places = new Float64Array(bins + 1);
  places[0] = -bound;
  let sum = 0;
  for (let k = 1; k < bins; k++) {
    sum += Math.exp(params[from + k - 1] - highest) / total;
    places[k] = -bound + 2 * bound * (k * min_bin + (1 - bins * min_bin) * sum);
  }
  places[bins] = bound;
  return places;
}

function clampUnit(t: number): number {
  return Math.min(1, Math.max(0, t));
}

export function softplus(raw: number): number {
  return raw > 30 ? raw : Math.log1p(Math.exp(raw));
}
