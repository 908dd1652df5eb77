// A map of three straight pieces with slopes 1, m, 1, which bend at z = ±1. For m < 0 it folds: some x come from three z.

import { normalPdf } from "../../maths/normal";
import { integrate, placesBetween } from "../../maths/quadrature";
import { normals } from "../../maths/random";

export const LATENTS: readonly number[] = normals(3, 600);

export class FoldedMap {
  /** The middle slope must not be zero. */
  constructor(readonly slope: number) {}

  forward(z: number): number {
    const m = this.slope;
    if (z < -1) return z + 1 - m;
    return z > 1 ? z - 1 + m : m * z;
  }

  /** All z with T(z) = x, from the smallest on. */
  branches(x: number): number[] {
    const m = this.slope;
    const found: number[] = [];
    if (x < -m) found.push(x - 1 + m);
    if (Math.abs(x) <= Math.abs(m)) found.push(x / m);
    if (x > m) found.push(x + 1 - m);
    return found.sort((a, b) => a - b);
  }

  /** p(z) / |T'(z)|: of the smallest z alone, or summed over all. */
  density(x: number, all: boolean): number {
    const found = this.branches(x);
    const parts = (all ? found : found.slice(0, 1)).map((z) => normalPdf(z) / this.steep(z));
    return parts.reduce((sum, part) => sum + part, 0);
  }

  integral(all: boolean): number {
    const m = Math.abs(this.slope);
    const places = placesBetween(-12, 12, [-6, -3, -m, 0, m, 3, 6]);
    return integrate((x) => this.density(x, all), places);
  }

  /** Of samples of this map, by a formula. */
  nll(all: boolean): number {
    return -LATENTS.reduce((sum, z) => sum + Math.log(this.density(this.forward(z), all)), 0) / LATENTS.length;
  }

  private steep(z: number): number {
    return Math.abs(z) <= 1 ? Math.abs(this.slope) : 1;
  }
}
