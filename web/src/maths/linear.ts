// Linear maps of the plane, and the way to them from the identity.

import type { Map2D, Mapped } from "./map2d";
import type { Point } from "../protocol";

/** x = M z + b. On the way there M is taken apart into a rotation, a stretch and perhaps a reflection. */
export class Linear implements Map2D {
  private readonly back: [Point, Point];
  private readonly ladj: number;
  private readonly angle: number;
  private readonly mirrored: boolean;
  private readonly stretch: Symmetric;

  constructor(
    readonly name: string,
    private readonly matrix: [Point, Point],
    private readonly shift: Point,
  ) {
    const [[a, b], [c, d]] = matrix;
    const det = a * d - b * c;
    this.ladj = Math.log(Math.abs(det));
    this.back = [[d / det, -b / det], [-c / det, a / det]];
    // M = R S F with F = diag(1, -1) where the determinant is negative: no path of bijections leads to a reflection.
    this.mirrored = det < 0;
    const [b1, d1] = this.mirrored ? [-b, -d] : [b, d];
    this.angle = Math.atan2(c - b1, a + d1);
    const [cos, sin] = [Math.cos(this.angle), Math.sin(this.angle)];
    this.stretch = new Symmetric(cos * a + sin * c, cos * b1 + sin * d1, -sin * b1 + cos * d1);
  }

  forward(z: Point): Mapped {
    const [[a, b], [c, d]] = this.matrix;
    return { x: [a * z[0] + b * z[1] + this.shift[0], c * z[0] + d * z[1] + this.shift[1]], ladj: this.ladj };
  }

  inverse(x: Point): Mapped {
    const [u, v] = [x[0] - this.shift[0], x[1] - this.shift[1]];
    const [[a, b], [c, d]] = this.back;
    return { x: [a * u + b * v, c * u + d * v], ladj: -this.ladj };
  }

  partly(t: number, z: Point): Mapped {
    if (t <= 0) return { x: z, ladj: 0 };
    const [u, v] = this.stretch.power(t, [z[0], this.mirrored ? -z[1] : z[1]]);
    const [cos, sin] = [Math.cos(t * this.angle), Math.sin(t * this.angle)];
    const x: Point = [cos * u - sin * v + t * this.shift[0], sin * u + cos * v + t * this.shift[1]];
    return { x, ladj: t * this.ladj };
  }
}

/** A symmetric positive matrix ((a, b), (b, d)) and its powers. */
class Symmetric {
  private readonly angle: number;
  private readonly values: Point;

  constructor(a: number, b: number, d: number) {
    this.angle = 0.5 * Math.atan2(2 * b, a - d);
    const [middle, half] = [(a + d) / 2, Math.hypot((a - d) / 2, b)];
    this.values = [middle + half, middle - half];
  }

  power(t: number, z: Point): Point {
    const [cos, sin] = [Math.cos(this.angle), Math.sin(this.angle)];
    const u = (cos * z[0] + sin * z[1]) * this.values[0] ** t;
    const v = (-sin * z[0] + cos * z[1]) * this.values[1] ** t;
    return [cos * u - sin * v, sin * u + cos * v];
  }
}
