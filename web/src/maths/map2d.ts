// What an invertible map of the plane is.

import type { Point } from "../protocol";

/** A point after a map, and log|det| of the map there. */
export interface Mapped {
  x: Point;
  ladj: number;
}

/** An invertible map of the plane. */
export interface Map2D {
  name: string;
  /** From latent to data. */
  forward(z: Point): Mapped;
  /** From data to latent; `ladj` is that of this direction. */
  inverse(x: Point): Mapped;
  /** The map a share t of the way from the identity, which is a bijection for every t from 0 to 1. */
  partly(t: number, z: Point): Mapped;
}
