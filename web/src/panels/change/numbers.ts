// The numbers of a change of variables x = T(z) in one dimension; the Python twin is `pf.plots.change_of_variables`.

import type { Point } from "../../protocol";
import type { Density } from "../../maths/densities";
import type { MonotoneMap } from "../../maths/monotone";
import { integrate, placesBetween } from "../../maths/quadrature";

export interface ChangeNumbers {
  /** Of neighbouring intervals of z, and their images. */
  edges: number[];
  images: number[];
  /** ∫ p dz over each interval and ∫ q dx over its image: both by quadrature, each in its own variable. */
  masses: number[];
  imageMasses: number[];
  /** ∫ q dx = 1. */
  integral: number;
  /** ∫ p(T⁻¹(x)) dx = E T'(z). */
  naive: number;
}

/** q(x) = p(z) / T'(z) at z = T⁻¹(x). */
export function densityOfX(base: Density, map: MonotoneMap, x: number): number {
  const z = map.inverse(x);
  return base.pdf(z) / map.slope(z);
}

export function changeNumbers(base: Density, map: MonotoneMap, intervals: number): ChangeNumbers {
  const [first, last] = base.jumps.length ? base.reach : [base.quantile(0.02), base.quantile(0.98)];
  const edges = Array.from({ length: intervals + 1 }, (_, k) => first + ((last - first) * k) / intervals);
  const images = edges.map((z) => map.forward(z));
  const bends = [...map.knots.map(([z]) => z), ...base.jumps, -6, -3, -1, 0, 1, 3, 6];
  const q = (x: number) => densityOfX(base, map, x);
  const over = (low: number, high: number) => {
    const z = placesBetween(low, high, bends);
    return { z, x: z.map((place) => map.forward(place)) };
  };
  const all = over(...base.reach);
  const parts = edges.slice(1).map((high, k) => over(edges[k], high));
  return {
    edges,
    images,
    masses: parts.map(({ z }) => integrate(base.pdf, z)),
    imageMasses: parts.map(({ x }) => integrate(q, x)),
    integral: integrate(q, all.x),
    naive: integrate((x) => base.pdf(map.inverse(x)), all.x),
  };
}

/** The range of x that the picture shows: all knots and some room, in whole numbers. */
export function rangeOfX(knots: readonly Point[]): Point {
  const [low, high] = [knots[0][1], knots[knots.length - 1][1]];
  const room = Math.max(0.25 + 0.12 * (high - low), (3 - high + low) / 2);
  return [Math.max(-12, Math.floor(low - room)), Math.min(12, Math.ceil(high + room))];
}

/** A knot at a new place, kept between its neighbours, with room for them, and inside of the picture. */
export function placed(knots: readonly Point[], k: number, to: Point, zRange: Point, xRange: Point): Point[] {
  const moved = knots.map((knot) => [...knot] as Point);
  ([0, 1] as const).forEach((side) => {
    const [low, high] = side === 0 ? zRange : xRange;
    const gap = side === 0 ? 0.003 * (high - low) : 0.005 * (high - low);
    const floor = k > 0 ? knots[k - 1][side] + gap : low;
    const roof = k < knots.length - 1 ? knots[k + 1][side] - gap : high;
    const kept = Math.min(roof, Math.max(floor, to[side]));
    if (floor < roof) moved[k][side] = Math.min(roof, Math.max(floor, Math.round(1000 * kept) / 1000));
  });
  return moved;
}

/** "z:x" of each knot, for the URL; null where this is no list of knots that increases within a view of z. */
export function knotsFrom(text: string, [low, high]: Point): Point[] | null {
  const knots = text.split(",").map((pair) => pair.split(":").map(Number) as Point);
  const sound = knots.every(
    (knot, k) =>
      knot.length === 2 && knot[0] >= low && knot[0] <= high && Math.abs(knot[1]) <= 12 &&
      (k === 0 || (knot[0] >= knots[k - 1][0] + 1e-3 && knot[1] >= knots[k - 1][1] + 1e-3)),
  );
  return sound && knots.length >= 2 && knots.length <= 15 ? knots : null;
}

export function knotsText(knots: readonly Point[]): string {
  return knots.map(([z, x]) => `${Number(z.toFixed(4))}:${Number(x.toFixed(3))}`).join(",");
}
