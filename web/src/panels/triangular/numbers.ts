// Densities that a triangular map makes of independent z_j ~ p: joint, conditional, and how far from a normal they are.

import type { Density } from "../../maths/densities";
import { integrate, placesBetween } from "../../maths/quadrature";
import { determinant, type TriangularMap } from "./map";

export interface ChainNumbers {
  jacobian: number[][];
  /** Σ log of the diagonal, and log|det| by elimination. */
  logDiagonal: number;
  logElimination: number;
  /** q(x_j | x_<j) at the point. */
  factors: number[];
  product: number;
  /** p(z) / |det|, with the determinant by elimination. */
  joint: number;
}

export function chainNumbers(map: TriangularMap, base: Density, z: readonly number[]): ChainNumbers {
  const jacobian = map.jacobian(z);
  const det = Math.abs(determinant(jacobian));
  const factors = z.map((value, j) => base.pdf(value) / jacobian[j][j]);
  return {
    jacobian,
    logDiagonal: jacobian.reduce((sum, row, j) => sum + Math.log(row[j]), 0),
    logElimination: Math.log(det),
    factors,
    product: factors.reduce((a, b) => a * b, 1),
    joint: z.reduce((product, value) => product * base.pdf(value), 1) / det,
  };
}

/** The conditional density of x₂ given x₁, and the normal of its mean and variance. */
export class Slice {
  readonly mean: number;
  readonly deviation: number;
  private readonly location: number;
  private readonly scale: number;

  constructor(
    private map: TriangularMap,
    private base: Density,
    z1: number,
  ) {
    const { mean, deviation } = map.parts(1, [z1]);
    [this.location, this.scale] = [mean, deviation];
    const average = (f: (z: number) => number) => this.average(f);
    const first = average((z) => map.shape(z));
    this.mean = mean + deviation * first;
    this.deviation = deviation * Math.sqrt(average((z) => (map.shape(z) - first) ** 2));
  }

  density(x2: number): number {
    const z = this.map.shapeInverse((x2 - this.location) / this.scale);
    return this.base.pdf(z) / (this.scale * this.map.shapeSlope(z));
  }

  normal(x2: number): number {
    const u = (x2 - this.mean) / this.deviation;
    return Math.exp(-0.5 * u * u) / (this.deviation * Math.sqrt(2 * Math.PI));
  }

  /** KL(q ‖ N) in nats: zero where the conditional is normal. */
  divergence(): number {
    const logNormal = (x: number) =>
      -0.5 * ((x - this.mean) / this.deviation) ** 2 - Math.log(this.deviation * Math.sqrt(2 * Math.PI));
    const value = this.average((z) => {
      const x = this.location + this.scale * this.map.shape(z);
      const log = Math.log(this.base.pdf(z)) - Math.log(this.scale * this.map.shapeSlope(z));
      return Number.isFinite(log) ? log - logNormal(x) : 0;
    });
    return Math.max(0, value);
  }

  private average(f: (z: number) => number): number {
    const places = placesBetween(...this.base.reach, [-4, -2, -1, 0, 1, 2, 4]);
    return integrate((z) => this.base.pdf(z) * f(z), places, 1e-9);
  }
}

/** q(x₁, x₂) on a grid, rows from below: the first two numbers of the map depend on the first two of z alone. */
export function jointOnGrid(
  map: TriangularMap, base: Density, x1: readonly [number, number], x2: readonly [number, number], size: number,
): Float64Array {
  const values = new Float64Array(size * size);
  const first = map.parts(0, []);
  for (let column = 0; column < size; column++) {
    const a = x1[0] + ((column + 0.5) / size) * (x1[1] - x1[0]);
    const z1 = map.shapeInverse((a - first.mean) / first.deviation);
    const own = base.pdf(z1) / (first.deviation * map.shapeSlope(z1));
    const { mean, deviation } = map.parts(1, [z1]);
    for (let row = 0; row < size; row++) {
      const b = x2[0] + ((row + 0.5) / size) * (x2[1] - x2[0]);
      const z2 = map.shapeInverse((b - mean) / deviation);
      values[row * size + column] = (own * base.pdf(z2)) / (deviation * map.shapeSlope(z2));
    }
  }
  return values;
}

/** Ranges of x₁ and x₂ which hold nearly all of the first two variables. */
export function ranges(map: TriangularMap, base: Density): { x1: [number, number]; x2: [number, number] } {
  const [low, high] = [base.quantile(0.001), base.quantile(0.999)];
  const levels = Array.from({ length: 25 }, (_, k) => low + ((high - low) * k) / 24);
  const first = levels.map((z) => map.forward([z])[0]);
  const second = levels.flatMap((a) => [0.004, 0.5, 0.996].map((u) => map.forward([a, base.quantile(u)])[1]));
  return { x1: widened(first), x2: widened(second) };
}

function widened(values: readonly number[]): [number, number] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = 0.04 * (high - low);
  return [low - room, high + room];
}
