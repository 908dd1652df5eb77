// A triangular map of D numbers that can be turned by a few knobs:
//
//   x_j = μ_j + σ_j h(z_j),   h(z) = z + r (√(1 + z²) − 1),
//   μ_j = Σ_{i<j} (c z_i + b (z_i² − 1)) / (j − i),   σ_j = exp(a + k tanh Σ_{i<j} z_i / (j − i)).
//
// x_j depends on z_1 … z_j alone and increases in z_j, for |r| < 1.

export interface TriangularParams {
  /** a, c, b, k, r of the formula. */
  scale: number;
  coupling: number;
  bend: number;
  spread: number;
  skew: number;
}

export class TriangularMap {
  /** How often a function T_j has been evaluated, or inverted. */
  evaluations = 0;

  constructor(
    readonly size: number,
    readonly params: TriangularParams,
  ) {}

  /** μ_j and σ_j: all that T_j takes from the numbers before z_j. Counts as an evaluation of T_j. */
  parts(j: number, before: readonly number[]): { mean: number; deviation: number } {
    this.evaluations += 1;
    const { scale, coupling, bend, spread } = this.params;
    let [mean, sum] = [0, 0];
    for (let i = 0; i < j; i++) {
      const z = before[i];
      mean += (coupling * z + bend * (z * z - 1)) / (j - i);
      sum += z / (j - i);
    }
    return { mean, deviation: Math.exp(scale + spread * Math.tanh(sum)) };
  }

  shape(z: number): number {
    return z + (this.params.skew * z * z) / (Math.sqrt(1 + z * z) + 1);
  }

  /** h'(z). */
  shapeSlope(z: number): number {
    return 1 + (this.params.skew * z) / Math.sqrt(1 + z * z);
  }

  /** h⁻¹: a root of a quadratic. */
  shapeInverse(y: number): number {
    const r = this.params.skew;
    const u = y + r;
    return (u - r * Math.sqrt(u * u + 1 - r * r)) / (1 - r * r);
  }

  forward(z: readonly number[]): number[] {
    return z.map((_, j) => {
      const { mean, deviation } = this.parts(j, z);
      return mean + deviation * this.shape(z[j]);
    });
  }

  /** z_j from x_j once the numbers before it are known. */
  solve(j: number, x: number, before: readonly number[]): number {
    const { mean, deviation } = this.parts(j, before);
    return this.shapeInverse((x - mean) / deviation);
  }

  /** ∂x_j / ∂z_i, rows j. */
  jacobian(z: readonly number[]): number[][] {
    const { coupling, bend, spread } = this.params;
    return z.map((_, j) => {
      const { deviation } = this.parts(j, z);
      let sum = 0;
      for (let i = 0; i < j; i++) sum += z[i] / (j - i);
      const turn = deviation * spread * (1 - Math.tanh(sum) ** 2) * this.shape(z[j]);
      return z.map((_, i) => {
        if (i > j) return 0;
        if (i === j) return deviation * this.shapeSlope(z[j]);
        return (coupling + 2 * bend * z[i] + turn) / (j - i);
      });
    });
  }
}

/** One stage of both ways to invert the map: after it, z_1 … z_k are known. */
export interface Stage {
  /** What the latest pass of the naive inverse found: right up to z_k, and of no use after it. */
  naive: number[];
  naiveEvaluations: number;
  incremental: number[];
  incrementalEvaluations: number;
}

/** The naive inverse runs the whole map D times and takes one more number each time; the other runs each T_j once. */
export function inversion(map: TriangularMap, x: readonly number[]): Stage[] {
  const naive = new TriangularMap(map.size, map.params);
  const incremental = new TriangularMap(map.size, map.params);
  let guess = x.map(() => 0);
  const known: number[] = [];
  return x.map((_, k) => {
    const pass = guess.map((_, j) => naive.solve(j, x[j], guess));
    guess = guess.map((value, j) => (j === k ? pass[k] : value));
    known.push(incremental.solve(k, x[k], known));
    return {
      naive: pass,
      naiveEvaluations: naive.evaluations,
      incremental: [...known],
      incrementalEvaluations: incremental.evaluations,
    };
  });
}

/** A determinant by Gaussian elimination with pivoting, which knows nothing of triangles. */
export function determinant(matrix: readonly (readonly number[])[]): number {
  const rows = matrix.map((row) => [...row]);
  let product = 1;
  for (let k = 0; k < rows.length; k++) {
    let best = k;
    for (let i = k; i < rows.length; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[best][k])) best = i;
    if (rows[best][k] === 0) return 0;
    if (best !== k) {
      [rows[k], rows[best]] = [rows[best], rows[k]];
      product = -product;
    }
    product *= rows[k][k];
    for (let i = k + 1; i < rows.length; i++) {
      const share = rows[i][k] / rows[k][k];
      for (let j = k; j < rows.length; j++) rows[i][j] -= share * rows[k][j];
    }
  }
  return product;
}
