// Integrals by the adaptive Gauss-Kronrod rule of 15 points (the one of QUADPACK and scipy's `quad`).

const NODES = [
  0.991455371120812639206854697526329, 0.949107912342758524526189684047851, 0.864864423359769072789712788640926,
  0.741531185599394439863864773280788, 0.58608723546769113029414469317868, 0.405845151377397166906606412076961,
  0.207784955007898467600689403773245, 0,
];
const KRONROD = [
  0.022935322010529224963732008058970, 0.063092092629978553290700663189204, 0.104790010322250183839876322541518,
  0.140653259715525918745189590510238, 0.16900472663926790282829543641503, 0.190350578064785409913256402421014,
  0.204432940075298892414161999234649, 0.209482141084727828012999174891714,
];
const GAUSS = [
  0, 0.129484966168869693270611432679082, 0, 0.27970539148927666790146777142378, 0,
  0.381830050505118944950369775488975, 0, 0.417959183673469387755102040816327,
];
const DEEPEST = 18;

type Real = (x: number) => number;

/** The integral of f between the first and the last of these places; where f jumps or bends, one should be. */
export function integrate(f: Real, places: readonly number[], tolerance = 1e-8): number {
  let sum = 0;
  for (let k = 0; k + 1 < places.length; k++)
    if (places[k + 1] > places[k]) sum += adaptive(f, places[k], places[k + 1], tolerance, 0);
  return sum;
}

function adaptive(f: Real, low: number, high: number, tolerance: number, depth: number): number {
  const [middle, half] = [(low + high) / 2, (high - low) / 2];
  let [fine, coarse] = [0, 0];
  for (let k = 0; k < 8; k++) {
    const pair = k === 7 ? f(middle) : f(middle - half * NODES[k]) + f(middle + half * NODES[k]);
    fine += KRONROD[k] * pair;
    coarse += GAUSS[k] * pair;
  }
  if (depth >= DEEPEST || !(Math.abs(fine - coarse) * half > tolerance)) return fine * half;
  return (
    adaptive(f, low, middle, tolerance / 1.6, depth + 1) + adaptive(f, middle, high, tolerance / 1.6, depth + 1)
  );
}

/** Sorted places between two ends, both of which are among them. */
export function placesBetween(low: number, high: number, inner: readonly number[]): number[] {
  const kept = inner.filter((place) => place > low && place < high).sort((a, b) => a - b);
  return [low, ...kept, high];
}
