// A spline on the box [-B, B], and what is outside of it.

import type { Point } from "../../protocol";
import { MonotoneMap } from "../../maths/monotone";
import { normalCdf } from "../../maths/normal";
import { integrate, placesBetween } from "../../maths/quadrature";
import { normals } from "../../maths/random";

export type Tails = "cut" | "identity" | "linear";

const NORMALS = normals(4, 300);
export const LATENTS: readonly number[] = normals(5, 300);

export class SplineBox {
  private map: MonotoneMap;

  constructor(
    readonly bound: number,
    readonly tails: Tails,
  ) {
    const knots = [[-1, -1], [-0.4, -0.5], [0, 0], [0.4, 0.5], [1, 1]].map(([z, x]) => [bound * z, bound * x] as Point);
    const slopes = new MonotoneMap(knots).slopes;
    this.map = new MonotoneMap(knots, tails === "identity" ? [1, ...slopes.slice(1, -1), 1] : slopes);
  }

  /** NaN where a z outside of the box has nowhere to go. */
  forward(z: number): number {
    return this.tails === "cut" && Math.abs(z) > this.bound ? NaN : this.map.forward(z);
  }

  /** log q(x); -∞ outside of a box without tails. */
  logDensity(x: number): number {
    if (this.tails === "cut" && Math.abs(x) > this.bound) return -Infinity;
    const z = this.map.inverse(x);
    return -0.5 * z * z - 0.5 * Math.log(2 * Math.PI) - Math.log(this.map.slope(z));
  }

  density(x: number): number {
    return Math.exp(this.logDensity(x));
  }

  /** P(|z| > B). */
  massOutside(): number {
    return 2 * normalCdf(-this.bound);
  }

  /** ∫ q dx over all x that the map reaches. */
  integral(): number {
    const inner = [-4, -2, -1, -0.4, 0, 0.4, 1, 2, 4].map((u) => u * this.bound);
    const [low, high] = [-9, 9].map((z) => (this.tails === "cut" ? Math.sign(z) * this.bound : this.map.forward(z)));
    return integrate((x) => this.density(x), placesBetween(low, high, inner));
  }

  /** Mean of -log q over data, infinite where one of them has the density zero. */
  nll(data: readonly number[]): number {
    return -data.reduce((sum, x) => sum + this.logDensity(x), 0) / data.length;
  }

  outside(points: readonly number[]): number {
    return points.filter((x) => Math.abs(x) > this.bound).length;
  }
}

/** Points of N(0, spread²). */
export function dataOf(spread: number): number[] {
  return NORMALS.map((z) => spread * z);
}
