// Flows of two variables for pictures that change many times a second: thousands of points in a few milliseconds.
// Networks that read one number are evaluated at some places, and interpolated between them; `Flow2D` is exact.

import { cell, Flow2D, logNormal } from "./flow";
import type { FlowJson, PartJson, Point } from "../protocol";
import { Network } from "./network";
import { applyRow, logSlope, widthOf, writeRow, type Table } from "./quick_spline";

/** Places at which networks are evaluated, and how far from zero they reach; beyond, parameters stay as they are there. */
const PLACES = 121;
const REACH = 6;
const READ = Float64Array.from({ length: PLACES }, (_, k) => REACH * ((2 * k) / (PLACES - 1) - 1));

/** A map of many points x1, x2, x1, ... in place; log|det| is added up where wanted. */
interface QuickMap {
  move(points: Float64Array, ladj: Float64Array | null, toData: boolean): void;
}

export class QuickFlow {
  private readonly maps: QuickMap[];

  constructor(json: FlowJson) {
    this.maps = json.parts.map(quick);
  }

  /** Latents, as x1, x2, x1, ..., to data. */
  forward(latents: Float64Array): Float64Array {
    const points = latents.slice();
    for (const map of this.maps) map.move(points, null, true);
    return points;
  }

  /** q on a grid of size × size cells over x and y, rows from below. */
  density(x: Point, y: Point, size: number): Float64Array {
    const points = new Float64Array(2 * size * size);
    for (let row = 0; row < size; row++)
      for (let column = 0; column < size; column++) {
        points[2 * (row * size + column)] = cell(x, column, size);
        points[2 * (row * size + column) + 1] = cell(y, row, size);
      }
    const density = new Float64Array(size * size);
    for (let k = this.maps.length - 1; k >= 0; k--) this.maps[k].move(points, density, false);
    for (let k = 0; k < density.length; k++) {
      const value = Math.exp(density[k] + logNormal([points[2 * k], points[2 * k + 1]]));
      density[k] = Number.isFinite(value) ? value : 0;
    }
    return density;
  }
}

function quick(part: PartJson): QuickMap {
  if (part.type === "triangular") return new QuickTriangular(part);
  if (part.type === "planar") return new QuickPlanar(part);
  return new PointByPoint(part);
}

/** Linear maps and the squash: by `Flow2D`. */
class PointByPoint implements QuickMap {
  private readonly flow: Flow2D;

  constructor(part: PartJson) {
    this.flow = new Flow2D({ parts: [part] });
  }

  move(points: Float64Array, ladj: Float64Array | null, toData: boolean): void {
    const [map] = this.flow.maps;
    for (let k = 0; k < points.length; k += 2) {
      const z: Point = [points[k], points[k + 1]];
      const step = toData ? map.forward(z) : map.inverse(z);
      [points[k], points[k + 1]] = step.x;
      if (ladj) ladj[k / 2] += step.ladj;
    }
  }
}

class QuickPlanar implements QuickMap {
  private readonly along: number;

  constructor(private readonly part: Extract<PartJson, { type: "planar" }>) {
    const { direction, push } = part;
    this.along = direction[0] * push[0] + direction[1] * push[1];
  }

  move(points: Float64Array, ladj: Float64Array | null, toData: boolean): void {
    const { direction, push, bias, inverse } = this.part;
    const { along } = this;
    const forwards = toData !== inverse;
    for (let k = 0; k < points.length; k += 2) {
      const at = direction[0] * points[k] + direction[1] * points[k + 1] + bias;
      const bend = Math.tanh(forwards ? at : bentRoot(along, at));
      const sign = forwards ? 1 : -1;
      points[k] += sign * push[0] * bend;
      points[k + 1] += sign * push[1] * bend;
      if (ladj) ladj[k / 2] += sign * Math.log1p(along * (1 - bend * bend));
    }
  }
}

/** Where a + c tanh(a) has a value, for c > -1: Newton's method inside a bracket. */
export function bentRoot(c: number, value: number): number {
  let [low, high] = [value - Math.abs(c), value + Math.abs(c)];
  let a = value;
  for (let k = 0; k < 40; k++) {
    const bend = Math.tanh(a);
    const off = a + c * bend - value;
    if (off > 0) high = a;
    else low = a;
    let next = a - off / (1 + c * (1 - bend * bend));
    if (!(next > low && next < high)) next = (low + high) / 2;
    if (Math.abs(next - a) < 1e-6) return next;
    a = next;
  }
  return a;
}

/** One variable by itself, the other by a map whose parameters are read off a table. */
class QuickTriangular implements QuickMap {
  private readonly table: Table;
  private readonly own: Table | null = null;

  constructor(private readonly part: Extract<PartJson, { type: "triangular" }>) {
    const { univariate, start, free } = part;
    const width = widthOf(univariate);
    const outputs = new Network(part.network).evaluateAt(READ);
    this.table = { width, rows: new Float64Array(PLACES * width) };
    const params = new Float64Array(outputs.length / PLACES);
    for (let row = 0; row < PLACES; row++) {
      for (let k = 0; k < params.length; k++) params[k] = outputs[k * PLACES + row];
      writeRow(univariate, params, free ? free[1] : 0, this.table, row);
    }
    if (start) {
      this.own = { width, rows: new Float64Array(width) };
      writeRow(univariate, start, free ? free[0] : 0, this.own, 0);
    }
  }

  move(points: Float64Array, ladj: Float64Array | null, toData: boolean): void {
    const { univariate, first, inverse } = this.part;
    const back = toData === inverse;
    for (let k = 0; k < points.length; k += 2) {
      let [a, sum] = [points[k + first], 0];
      const before = a;
      if (this.own) {
        a = applyRow(univariate, this.own, 0, 0, a, back);
        sum += logSlope;
      }
      const read = back ? a : before;
      const place = Math.min(PLACES - 1, Math.max(0, ((read / REACH + 1) / 2) * (PLACES - 1))) || 0;
      const row = Math.min(PLACES - 2, Math.floor(place));
      points[k + 1 - first] = applyRow(univariate, this.table, row, place - row, points[k + 1 - first], back);
      sum += logSlope;
      points[k + first] = a;
      if (ladj) ladj[k / 2] += sum;
    }
  }
}
