// An increasing map of one number through knots: a rational-quadratic spline (Gregory and Delbourgo, 1982; in flows
// Durkan et al., 2019, arXiv:1906.04032), linear beyond the ends. It is a bijection of the real line.

import type { Point } from "../protocol";

export class MonotoneMap {
  readonly slopes: readonly number[];

  /** Knots (z, x) must increase in both; slopes there are positive, chosen by the knots if none are given. */
  constructor(
    readonly knots: readonly Point[],
    slopes?: readonly number[],
  ) {
    this.slopes = slopes ?? slopesOf(knots);
  }

  forward(z: number): number {
    const { knots, slopes } = this;
    const last = knots.length - 1;
    if (z <= knots[0][0]) return knots[0][1] + slopes[0] * (z - knots[0][0]);
    if (z >= knots[last][0]) return knots[last][1] + slopes[last] * (z - knots[last][0]);
    const k = this.bin(z, 0);
    const { width, height, s, d0, bend } = this.piece(k);
    const t = (z - knots[k][0]) / width;
    return knots[k][1] + (height * (s * t * t + d0 * t * (1 - t))) / (s + bend * t * (1 - t));
  }

  /** T'(z). */
  slope(z: number): number {
    const { knots, slopes } = this;
    const last = knots.length - 1;
    if (z <= knots[0][0]) return slopes[0];
    if (z >= knots[last][0]) return slopes[last];
    const k = this.bin(z, 0);
    const { width, s, d0, d1, bend } = this.piece(k);
    const t = (z - knots[k][0]) / width;
    const below = s + bend * t * (1 - t);
    return (s * s * (d1 * t * t + 2 * s * t * (1 - t) + d0 * (1 - t) * (1 - t))) / (below * below);
  }

  inverse(x: number): number {
    const { knots, slopes } = this;
    const last = knots.length - 1;
    if (x <= knots[0][1]) return knots[0][0] + (x - knots[0][1]) / slopes[0];
    if (x >= knots[last][1]) return knots[last][0] + (x - knots[last][1]) / slopes[last];
    const k = this.bin(x, 1);
    const { width, height, s, d0, bend } = this.piece(k);
    const dy = x - knots[k][1];
    const [a, b, c] = [height * (s - d0) + dy * bend, height * d0 - dy * bend, -s * dy];
    const t = (2 * c) / (-b - Math.sqrt(Math.max(0, b * b - 4 * a * c)));
    return knots[k][0] + width * Math.min(1, Math.max(0, t));
  }

  private bin(value: number, side: 0 | 1): number {
    let k = 0;
    while (k < this.knots.length - 2 && value >= this.knots[k + 1][side]) k++;
    return k;
  }

  private piece(k: number) {
    const [from, to] = [this.knots[k], this.knots[k + 1]];
    const [width, height] = [to[0] - from[0], to[1] - from[1]];
    const [s, d0, d1] = [height / width, this.slopes[k], this.slopes[k + 1]];
    return { width, height, s, d0, d1, bend: d0 + d1 - 2 * s };
  }
}

/** A map a share t of the way from one to another with as many knots, which is an increasing map too. */
export function between(from: MonotoneMap, to: MonotoneMap, t: number): MonotoneMap {
  const mixed = (a: number, b: number) => a + t * (b - a);
  return new MonotoneMap(
    to.knots.map(([z, x], k) => [mixed(from.knots[k][0], z), mixed(from.knots[k][1], x)]),
    to.slopes.map((slope, k) => mixed(from.slopes[k], slope)),
  );
}

/** Slopes by the geometric means of those of the neighbouring lines: a knot moves the map nearby only. */
function slopesOf(knots: readonly Point[]): number[] {
  const lines = knots.slice(1).map(([z, x], k) => (x - knots[k][1]) / (z - knots[k][0]));
  const last = lines.length - 1;
  return knots.map((_, k) => {
    if (k === 0) return end(lines[0], lines[Math.min(1, last)]);
    if (k === knots.length - 1) return end(lines[last], lines[Math.max(0, last - 1)]);
    return Math.sqrt(lines[k - 1] * lines[k]);
  });
}

/** At an end: the change of slope goes on, within a factor of three. */
function end(own: number, next: number): number {
  return own * Math.min(3, Math.max(1 / 3, Math.sqrt(own / next)));
}
