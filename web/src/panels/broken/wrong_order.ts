// A banana, x₁ = z₁ and x₂ = z₂ / 2 + b (z₁² − 1), and triangular maps that read its columns in the wrong order.

import type { Point } from "../../protocol";
import { normals } from "../../maths/random";

export type Order = "right" | "swapped" | "refitted";

const NOISE = 0.5;
const LOG_2PI = Math.log(2 * Math.PI);
const COUNT = 400;
const OF_DATA = [normals(6, COUNT), normals(7, COUNT)];
const OF_SAMPLES = [normals(8, COUNT), normals(9, COUNT)];
/** Of the banana in nats: that of two normals, and the logarithm of the slope 1/2. */
export const ENTROPY = 1 + LOG_2PI + Math.log(NOISE);

export class Banana {
  /** The variance of x₁ given x₂, at places of x₂. */
  private variances = new Map<number, number>();

  constructor(readonly bend: number) {}

  data(): Point[] {
    return OF_DATA[0].map((z, k) => [z, NOISE * OF_DATA[1][k] + this.lift(z)]);
  }

  /** Samples of a model: of its first number, then of the second given that. */
  samples(order: Order): Point[] {
    return OF_SAMPLES[0].map((u, k) => {
      const first = this.firstDeviation(order) * u;
      const { mean, deviation } = this.second(order, first);
      const second = mean + deviation * OF_SAMPLES[1][k];
      return order === "right" ? [first, second] : [second, first];
    });
  }

  logDensity(order: Order, [x1, x2]: Point): number {
    const [first, second] = order === "right" ? [x1, x2] : [x2, x1];
    const { mean, deviation } = this.second(order, first);
    return logNormal(first, 0, this.firstDeviation(order)) + logNormal(second, mean, deviation);
  }

  nll(order: Order): number {
    return -this.data().reduce((sum, x) => sum + this.logDensity(order, x), 0) / COUNT;
  }

  /** ∫∫ q dx₁ dx₂ by the trapezoidal rule, which is nearly exact for densities like these. */
  integral(order: Order): number {
    const wide = this.firstDeviation(order);
    const [count, reach] = [120, 7];
    let sum = 0;
    for (let k = 0; k <= count; k++) {
      const first = wide * reach * ((2 * k) / count - 1);
      const { mean, deviation } = this.second(order, first);
      for (let l = 0; l <= count; l++) {
        const second = mean + deviation * reach * ((2 * l) / count - 1);
        sum += Math.exp(this.logDensity(order, order === "right" ? [first, second] : [second, first])) * deviation;
      }
    }
    return sum * wide * ((2 * reach) / count) ** 2;
  }

  private lift(x: number): number {
    return this.bend * (x * x - 1);
  }

  /** The model of whatever comes first: refitted it has the mean (0) and the variance of x₂. */
  private firstDeviation(order: Order): number {
    return order === "refitted" ? Math.sqrt(NOISE * NOISE + 2 * this.bend * this.bend) : 1;
  }

  /** Of the second given the first: the function of the right order, or the best normal of the other order. */
  private second(order: Order, first: number): { mean: number; deviation: number } {
    if (order !== "refitted") return { mean: this.lift(first), deviation: NOISE };
    return { mean: 0, deviation: Math.sqrt(this.variance(first)) };
  }

  /** Var(x₁ | x₂) by quadrature; the mean is 0, since the banana is symmetric. */
  private variance(x2: number): number {
    const known = this.variances.get(x2);
    if (known !== undefined) return known;
    const places = Array.from({ length: 161 }, (_, k) => k / 20);
    const logs = places.map((x1) => -0.5 * x1 * x1 - 0.5 * ((x2 - this.lift(x1)) / NOISE) ** 2);
    const highest = Math.max(...logs);
    let [total, second] = [0, 0];
    logs.forEach((log, k) => {
      const weight = Math.exp(log - highest) * (k === 0 ? 0.5 : 1);
      total += weight;
      second += weight * places[k] ** 2;
    });
    const variance = Math.max(1e-4, second / total);
    this.variances.set(x2, variance);
    return variance;
  }
}

function logNormal(x: number, mean: number, deviation: number): number {
  return -0.5 * ((x - mean) / deviation) ** 2 - Math.log(deviation) - 0.5 * LOG_2PI;
}
