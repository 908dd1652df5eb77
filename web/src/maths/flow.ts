// Maps of two variables, evaluated in the browser from the weights that Python sends: equal to the library to rounding
// of its float32 weights, so that dragging needs no server.

import type { FlowJson, PartJson, Point } from "../protocol";
import { Linear } from "./linear";
import type { Map2D, Mapped } from "./map2d";
import { Network } from "./network";
import { increasing, type Increasing } from "./univariate";

export class Flow2D {
  readonly maps: Map2D[];

  constructor(json: FlowJson) {
    this.maps = json.parts.map(mapOf);
  }

  /** x = T(z) and log|det| of T at z; with `layers`, of the first so many layers, the last perhaps in part (2.5). */
  forward(z: Point, layers = this.maps.length): Mapped {
    let [x, ladj] = [z, 0];
    const whole = Math.floor(layers);
    for (const map of this.maps.slice(0, whole)) {
      const step = map.forward(x);
      [x, ladj] = [step.x, ladj + step.ladj];
    }
    if (layers > whole && whole < this.maps.length) {
      const step = this.maps[whole].partly(layers - whole, x);
      [x, ladj] = [step.x, ladj + step.ladj];
    }
    return { x, ladj };
  }

  inverse(x: Point): Mapped {
    let [z, ladj] = [x, 0];
    for (let k = this.maps.length - 1; k >= 0; k--) {
      const step = this.maps[k].inverse(z);
      [z, ladj] = [step.x, ladj + step.ladj];
    }
    return { x: z, ladj };
  }

  /** log q(x) with standard normal latents. */
  logProb(x: Point): number {
    const { x: z, ladj } = this.inverse(x);
    const value = logNormal(z) + ladj;
    return Number.isNaN(value) ? -Infinity : value;
  }

  /** log|det| of each layer on the way of z. */
  steps(z: Point): Mapped[] {
    const steps: Mapped[] = [];
    for (const map of this.maps) {
      const step = map.forward(z);
      steps.push(step);
      z = step.x;
    }
    return steps;
  }

  /** q on a grid of size × size cells over x and y, rows from below. */
  density(x: Point, y: Point, size: number): Float64Array {
    const values = new Float64Array(size * size);
    for (let row = 0; row < size; row++)
      for (let column = 0; column < size; column++) {
        const at: Point = [cell(x, column, size), cell(y, row, size)];
        values[row * size + column] = Math.exp(this.logProb(at));
      }
    return values;
  }
}

/** The middle of a cell of so many over a range. */
export function cell(range: Point, index: number, size: number): number {
  return range[0] + ((index + 0.5) / size) * (range[1] - range[0]);
}

/** The log-density of two independent standard normals. */
export function logNormal(z: Point): number {
  return -0.5 * (z[0] * z[0] + z[1] * z[1]) - Math.log(2 * Math.PI);
}

function mapOf(part: PartJson): Map2D {
  if (part.type === "linear") return new Linear(part.name, part.matrix, part.shift);
  if (part.type === "squash") return part.inverse ? new Reversed(new Squash(part.name)) : new Squash(part.name);
  if (part.type === "planar") {
    const planar = new Planar(part.name, part.direction, part.push, part.bias);
    return part.inverse ? new Reversed(planar) : planar;
  }
  return new Triangular(part);
}

/** z / (1 + t ‖z‖). */
export class Squash implements Map2D {
  constructor(readonly name: string) {}

  forward(z: Point): Mapped {
    return this.partly(1, z);
  }

  inverse(x: Point): Mapped {
    const left = 1 - Math.hypot(x[0], x[1]);
    if (left <= 0) return { x: [NaN, NaN], ladj: -Infinity };
    return { x: [x[0] / left, x[1] / left], ladj: -3 * Math.log(left) };
  }

  partly(t: number, z: Point): Mapped {
    const wide = 1 + t * Math.hypot(z[0], z[1]);
    return { x: [z[0] / wide, z[1] / wide], ladj: -3 * Math.log(wide) };
  }
}

/** z + û tanh(wᵀz + b). */
export class Planar implements Map2D {
  private readonly along: number;

  constructor(
    readonly name: string,
    private readonly direction: Point,
    private readonly push: Point,
    private readonly bias: number,
  ) {
    this.along = direction[0] * push[0] + direction[1] * push[1];
  }

  forward(z: Point): Mapped {
    return this.partly(1, z);
  }

  partly(t: number, z: Point): Mapped {
    const bend = Math.tanh(this.direction[0] * z[0] + this.direction[1] * z[1] + this.bias);
    const x: Point = [z[0] + t * this.push[0] * bend, z[1] + t * this.push[1] * bend];
    return { x, ladj: Math.log1p(t * this.along * (1 - bend * bend)) };
  }

  inverse(x: Point): Mapped {
    const target = this.direction[0] * x[0] + this.direction[1] * x[1] + this.bias;
    const a = rootOf((a) => a + this.along * Math.tanh(a), target, Math.abs(this.along));
    const bend = Math.tanh(a);
    const z: Point = [x[0] - this.push[0] * bend, x[1] - this.push[1] * bend];
    return { x: z, ladj: -Math.log1p(this.along * (1 - bend * bend)) };
  }
}

/** Where an increasing function that is at most `reach` away from its argument takes a value. */
function rootOf(f: (a: number) => number, value: number, reach: number): number {
  let [low, high] = [value - reach, value + reach];
  for (let k = 0; k < 80 && high - low > 1e-14 * (1 + Math.abs(low)); k++) {
    const middle = (low + high) / 2;
    if (f(middle) < value) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** A map backwards, as a map forwards; on the way there it is a mixture with the identity if that is a bijection. */
class Reversed implements Map2D {
  readonly name: string;

  constructor(private readonly map: Map2D) {
    this.name = map.name;
  }

  forward(z: Point): Mapped {
    return this.map.inverse(z);
  }

  inverse(x: Point): Mapped {
    return this.map.forward(x);
  }

  /** The inverse of the map a share t of the way there. */
  partly(t: number, z: Point): Mapped {
    if (t <= 0) return { x: z, ladj: 0 };
    // Newton's method from the identity on, along t.
    let x: Point = z;
    for (let k = 0; k < 60; k++) {
      const at = this.map.partly(t, x);
      const [du, dv] = [z[0] - at.x[0], z[1] - at.x[1]];
      if (Math.hypot(du, dv) < 1e-12) break;
      const [[a, b], [c, d]] = jacobian((p) => this.map.partly(t, p).x, x);
      const det = a * d - b * c;
      x = [x[0] + (d * du - b * dv) / det, x[1] + (a * dv - c * du) / det];
    }
    return { x, ladj: -this.map.partly(t, x).ladj };
  }
}

/** The Jacobian matrix of a map of the plane, by central differences. */
export function jacobian(map: (z: Point) => Point, z: Point): [Point, Point] {
  const step = 1e-5;
  const [right, left] = [map([z[0] + step, z[1]]), map([z[0] - step, z[1]])];
  const [up, down] = [map([z[0], z[1] + step]), map([z[0], z[1] - step])];
  return [
    [(right[0] - left[0]) / (2 * step), (up[0] - down[0]) / (2 * step)],
    [(right[1] - left[1]) / (2 * step), (up[1] - down[1]) / (2 * step)],
  ];
}

/** A layer that moves one variable by itself, and the other by a map whose parameters a network reads off the first. */
class Triangular implements Map2D {
  readonly name: string;
  private readonly first: 0 | 1;
  private readonly backwards: boolean;
  private readonly start: number[] | null;
  private readonly free: Point | null;
  private readonly univariate: Increasing;
  private readonly network: Network;

  constructor(part: Extract<PartJson, { type: "triangular" }>) {
    this.name = part.name;
    this.first = part.first;
    this.backwards = part.inverse;
    this.start = part.start;
    this.free = part.free;
    this.univariate = increasing(part.univariate);
    this.network = new Network(part.network);
  }

  forward(z: Point): Mapped {
    return this.backwards ? this.undo(z) : this.apply(z);
  }

  inverse(x: Point): Mapped {
    return this.backwards ? this.apply(x) : this.undo(x);
  }

  /** (1 - t) z + t T(z): a mixture of increasing triangular maps is one. */
  partly(t: number, z: Point): Mapped {
    const [own, other] = this.slopes(z);
    const x = this.forward(z).x;
    const ladj = Math.log(1 - t + t * own) + Math.log(1 - t + t * other);
    return { x: [z[0] + t * (x[0] - z[0]), z[1] + t * (x[1] - z[1])], ladj };
  }

  private slopes(z: Point): Point {
    const [a, b] = this.split(z);
    const first = this.moveFirst(a, this.backwards);
    const read = this.backwards ? first[0] : a;
    const second = this.moveSecond(b, read, this.backwards);
    return [Math.exp(first[1]), Math.exp(second[1])];
  }

  private apply(z: Point): Mapped {
    const [a, b] = this.split(z);
    const [u, s] = this.moveFirst(a, false);
    const [v, r] = this.moveSecond(b, a, false);
    return { x: this.join(u, v), ladj: s + r };
  }

  private undo(x: Point): Mapped {
    const [u, v] = this.split(x);
    const [a, s] = this.moveFirst(u, true);
    const [b, r] = this.moveSecond(v, a, true);
    return { x: this.join(a, b), ladj: s + r };
  }

  private moveFirst(value: number, back: boolean): Point {
    if (this.start === null) return [value, 0];
    return this.univariate(value, this.start, this.free === null ? 0 : this.free[0], back);
  }

  private moveSecond(value: number, read: number, back: boolean): Point {
    return this.univariate(value, this.network.evaluate(read), this.free === null ? 0 : this.free[1], back);
  }

  private split(z: Point): Point {
    return this.first === 0 ? z : [z[1], z[0]];
  }

  private join(a: number, b: number): Point {
    return this.first === 0 ? [a, b] : [b, a];
  }
}
