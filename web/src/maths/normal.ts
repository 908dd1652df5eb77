// The standard normal distribution, to about 1e-15.

const ROOT = Math.sqrt(2 * Math.PI);

export function normalPdf(z: number): number {
  return Math.exp(-0.5 * z * z) / ROOT;
}

/** Φ(z), exact in both tails. */
export function normalCdf(z: number): number {
  return z < 0 ? upper(-z) : 1 - upper(z);
}

/** P(Z > z) for z ≥ 0: a series near zero, a continued fraction beyond. */
function upper(z: number): number {
  if (z > 38) return 0;
  if (z < 3) {
    let [term, sum] = [z, z];
    for (let n = 1; n < 80; n++) {
      term *= (z * z) / (2 * n + 1);
      sum += term;
    }
    return 0.5 - sum * normalPdf(z);
  }
  let fraction = 0;
  for (let k = 100; k > 0; k--) fraction = k / (z + fraction);
  return normalPdf(z) / (z + fraction);
}

/** Φ⁻¹(u): bisection to where Newton's method is safe. */
export function normalQuantile(u: number): number {
  if (!(u > 0)) return -Infinity;
  if (u >= 1) return Infinity;
  if (u > 0.5) return -normalQuantile(1 - u);
  let [low, high] = [-38, 0];
  for (let k = 0; k < 14; k++) {
    const middle = (low + high) / 2;
    if (normalCdf(middle) < u) low = middle;
    else high = middle;
  }
  let z = (low + high) / 2;
  for (let k = 0; k < 6; k++) {
    const error = (normalCdf(z) - u) / normalPdf(z);
    z -= error / (1 + 0.5 * z * error);
  }
  return z;
}
