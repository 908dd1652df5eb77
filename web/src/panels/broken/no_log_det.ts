// A scale x = s z learned without the log-determinant.

import { normalPdf } from "../../maths/normal";
import { integrate } from "../../maths/quadrature";
import { normals } from "../../maths/random";

/** Points of N(0, 1.5²). */
export const POINTS: readonly number[] = normals(1, 200).map((z) => 1.5 * z);
export const LATENTS: readonly number[] = normals(2, 200);
const SQUARE = POINTS.reduce((sum, x) => sum + x * x, 0) / POINTS.length;
const CONSTANT = 0.5 * Math.log(2 * Math.PI);

/** The scale of highest likelihood. */
export const BEST = Math.sqrt(SQUARE);

/** Mean of -log q(x) = -log p(x / s) + log s. */
export function rightNll(s: number): number {
  return wrongNll(s) + Math.log(s);
}

/** Mean of -log p(x / s): the log-determinant is missing. */
export function wrongNll(s: number): number {
  return (0.5 * SQUARE) / (s * s) + CONSTANT;
}

/** ∫ p(x / s) / s^power dx by quadrature; power one is the density, zero forgets the slope. */
export function integralOf(s: number, power: 0 | 1): number {
  const places = [-9, -4, -2, 0, 2, 4, 9].map((z) => z * s);
  return integrate((x) => normalPdf(x / s) / s ** power, places);
}

/** One step of gradient descent in log s, of bounded length, within the limits. */
export function descend(s: number, right: boolean, [low, high]: readonly [number, number]): number {
  const slope = (right ? 1 : 0) - SQUARE / (s * s);
  const step = Math.min(0.25, Math.max(-0.25, -0.5 * slope));
  return Math.min(high, Math.max(low, s * Math.exp(step)));
}
