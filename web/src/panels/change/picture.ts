// The lecture's picture: a map x = T(z), p(z) below it, q(x) beside it, and rectangles of equal area on both sides.

import type { Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { densityOfX, type ChangeNumbers } from "./numbers";
import type { Density } from "../../maths/densities";
import { Frame, words } from "../../drawing/frame";
import type { MonotoneMap } from "../../maths/monotone";

export interface ChangePicture {
  base: Density;
  map: MonotoneMap;
  numbers: ChangeNumbers;
  xRange: Point;
  naive: boolean;
}

/** Colours of intervals in their order (viridis), readable on light and dark. */
const SCALE: readonly Point3[] = [
  [72, 72, 136], [52, 96, 141], [38, 130, 142], [31, 158, 137], [53, 183, 121], [109, 205, 89], [180, 222, 44],
];
type Point3 = [number, number, number];

export function colourOf(k: number, count: number): string {
  const place = count > 1 ? (k / (count - 1)) * (SCALE.length - 1) : 2;
  const low = Math.min(SCALE.length - 2, Math.floor(place));
  const mixed = SCALE[low].map((from, c) => Math.round(from + (place - low) * (SCALE[low + 1][c] - from)));
  return `rgb(${mixed.join(", ")})`;
}

/** Draws everything and returns the frame of the map, on which the knots stand. */
export function drawChange(plot: Plot, picture: ChangePicture): Frame {
  const { base, map, numbers, xRange, naive } = picture;
  const { width, height } = plot;
  const side = { left: 34, right: 34 + Math.max(72, 0.25 * width), top: 10, bottom: 0.66 * height };
  const main = { left: side.right + 14, right: width - 18, top: side.top, bottom: side.bottom };
  const under = { left: main.left, right: main.right, top: main.bottom + 14, bottom: height - 24 };
  const p = curveOfP(base);
  const q = curveOfQ(base, map, xRange);
  const [tall, wide] = [highestOfP(p, numbers), highestOfQ(q, numbers, p)];
  const ofMap = new Frame(plot, main, base.view, xRange);
  const ofP = new Frame(plot, under, base.view, [0, tall]);
  const ofQ = new Frame(plot, side, [0, wide], xRange, true);

  ofMap.axes({});
  ofP.axes({ below: true, beside: true });
  ofQ.axes({ beside: true, below: true });
  const count = numbers.masses.length;
  ofP.within(() => {
    for (let k = 0; k < count; k++) {
      const z: Point = [numbers.edges[k], numbers.edges[k + 1]];
      ofP.rectangle(z, [0, numbers.masses[k] / (z[1] - z[0])], colourOf(k, count));
    }
    plot.area(p, "blue", 0.1);
    plot.curve(p, "blue", { width: 2.5 });
  });
  ofQ.within(() => {
    for (let k = 0; k < count; k++) {
      const x: Point = [numbers.images[k], numbers.images[k + 1]];
      ofQ.rectangle([0, numbers.imageMasses[k] / (x[1] - x[0])], x, colourOf(k, count));
    }
    ofQ.sideArea(q, "orange", 0.1);
    plot.curve(q, "orange", { width: 2.5 });
    if (naive) plot.curve(q.map(([, x]) => [base.pdf(map.inverse(x)), x]), "red", { dash: [6, 4] });
  });
  ofMap.within(() => {
    numbers.edges.forEach((z, k) => {
      const x = numbers.images[k];
      const to = [base.view[0], xRange[0]];
      plot.curve([[z, to[1]], [z, x], [to[0], x]], "soft", { width: 1, opacity: 0.6 });
    });
    const z = range(base.view, 400, map.knots.map(([at]) => at));
    plot.curve(z.map((at) => [at, map.forward(at)]), "ink", { width: 2.5 });
  });
  words(plot, "x = T(z)", main.left + 8, main.top + 12, "ink");
  words(plot, "p(z)", under.left + 8, under.top + 10, "blue");
  words(plot, "q(x)", side.left + 6, side.top + 12, "orange");
  if (naive) words(plot, "q*(x)", side.left + 6, side.top + 30, "red");
  words(plot, "x", 12, side.top + 8, "ink");
  words(plot, "z", under.right - 6, under.bottom - 11, "ink", "right");
  if (under.bottom - under.top > 70) words(plot, "p(z) dz = q(x) dx", side.left - 20, under.bottom - 6, "soft", "left", 12);
  ofMap.enter();
  return ofMap;
}

function curveOfP(base: Density): Point[] {
  return range(base.view, 400, around(base.jumps)).map((z) => [z, base.pdf(z)]);
}

/** Points (q(x), x): evenly spaced ones, and images of evenly spaced z, which are dense where q is high. */
function curveOfQ(base: Density, map: MonotoneMap, [low, high]: Point): Point[] {
  const images = [...range(base.view, 400, []), ...map.knots.map(([z]) => z)].map((z) => map.forward(z));
  const ends = around(base.jumps.map((z) => map.forward(z)));
  return range([low, high], 300, [...images, ...ends]).map((x) => [densityOfX(base, map, x), x]);
}

function highestOfP(p: readonly Point[], numbers: ChangeNumbers): number {
  const rectangles = numbers.masses.map((mass, k) => mass / (numbers.edges[k + 1] - numbers.edges[k]));
  return 1.4 * Math.max(...rectangles, ...p.map(([, height]) => height));
}

/** All rectangles and p are seen whole; a peak of q beyond 2.5 times the highest rectangle is cut. */
function highestOfQ(q: readonly Point[], numbers: ChangeNumbers, p: readonly Point[]): number {
  const rectangle = Math.max(
    ...numbers.imageMasses.map((mass, k) => mass / (numbers.images[k + 1] - numbers.images[k])),
  );
  const peak = Math.max(...q.map(([height]) => height).filter(Number.isFinite));
  const highest = Math.max(1.15 * rectangle, Math.min(1.1 * peak, 2.5 * rectangle), ...p.map(([, h]) => 1.1 * h));
  return highest > 0 && Number.isFinite(highest) ? highest : 1;
}

/** Both sides of a jump. */
function around(jumps: readonly number[]): number[] {
  return jumps.flatMap((at) => [at - 1e-9, at + 1e-9]);
}

/** Evenly spaced numbers and some others, sorted, within a range. */
function range([low, high]: Point, count: number, others: readonly number[]): number[] {
  const even = Array.from({ length: count + 1 }, (_, k) => low + ((high - low) * k) / count);
  return [...even, ...others.filter((x) => x > low && x < high)].sort((a, b) => a - b);
}
