// Densities p(z) of one latent number.

import type { Point } from "../protocol";
import { normalCdf, normalPdf, normalQuantile } from "./normal";

export type DensityName = "normal" | "uniform" | "logistic" | "mixture" | "bumps" | "skewed";

export interface Density {
  title: string;
  pdf(z: number): number;
  cdf(z: number): number;
  quantile(u: number): number;
  /** All probability but 1e-13 or so. */
  reach: Point;
  /** What an axis shows. */
  view: Point;
  /** Where the knots of a map stand to begin with. */
  span: Point;
  /** Where the density jumps. */
  jumps: readonly number[];
}

const NORMAL: Density = {
  title: "standard normal",
  pdf: normalPdf,
  cdf: normalCdf,
  quantile: normalQuantile,
  reach: [-8, 8],
  view: [-4, 4],
  span: [-3, 3],
  jumps: [],
};

const UNIFORM: Density = {
  title: "uniform on [0, 1]",
  pdf: (z) => (z >= 0 && z <= 1 ? 1 : 0),
  cdf: (z) => Math.min(1, Math.max(0, z)),
  quantile: (u) => u,
  reach: [0, 1],
  view: [-0.2, 1.2],
  span: [0, 1],
  jumps: [0, 1],
};

const LOGISTIC: Density = {
  title: "logistic",
  pdf: (z) => {
    const small = Math.exp(-Math.abs(z));
    return small / (1 + small) ** 2;
  },
  cdf: (z) => 1 / (1 + Math.exp(-z)),
  quantile: (u) => Math.log(u / (1 - u)),
  reach: [-32, 32],
  view: [-6, 6],
  span: [-4.5, 4.5],
  jumps: [],
};

/** One Gumbel variable of mean 0 and variance 1: a long upper tail. */
const SCALE = Math.sqrt(6) / Math.PI;
const MODE = -0.5772156649015329 * SCALE;
const SKEWED: Density = {
  title: "skewed (Gumbel)",
  pdf: (z) => {
    const y = (z - MODE) / SCALE;
    return y < -30 ? 0 : Math.exp(-y - Math.exp(-y)) / SCALE;
  },
  cdf: (z) => Math.exp(-Math.exp(-(z - MODE) / SCALE)),
  quantile: (u) => MODE - SCALE * Math.log(-Math.log(u)),
  reach: [-3.2, 24],
  view: [-3, 5],
  span: [-2, 4],
  jumps: [],
};

/** Half N(-m, s²), half N(m, s²). */
function twoNormals(title: string, m: number, s: number): Density {
  const cdf = (z: number) => 0.5 * (normalCdf((z + m) / s) + normalCdf((z - m) / s));
  return {
    title,
    pdf: (z) => (0.5 * (normalPdf((z + m) / s) + normalPdf((z - m) / s))) / s,
    cdf,
    quantile: (u) => rootOf(cdf, u, -m - 9 * s, m + 9 * s),
    reach: [-m - 8 * s, m + 8 * s],
    view: [-4, 4],
    span: [-3, 3],
    jumps: [],
  };
}

export const DENSITIES: Record<DensityName, Density> = {
  normal: NORMAL,
  uniform: UNIFORM,
  logistic: LOGISTIC,
  mixture: twoNormals("mixture of two normals", 1.5, 0.6),
  bumps: twoNormals("two bumps", 0.9, Math.sqrt(0.19)),
  skewed: SKEWED,
};

/** Where an increasing function takes a value. */
export function rootOf(f: (x: number) => number, value: number, low: number, high: number): number {
  for (let k = 0; k < 80; k++) {
    const middle = (low + high) / 2;
    if (f(middle) < value) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
