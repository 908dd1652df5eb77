// A straight grid over z and its image after each layer of a flow, as numbers: places, areas, log-determinants.

import { logNormal, type Flow2D } from "./flow";
import type { Point } from "../protocol";

/** Where the nodes are after some layers, as x1, x2, x1, ...; and log|det| of these layers at each. */
export interface MeshImage {
  places: Float64Array;
  ladj: Float64Array;
}

/** A cell by its column and row. */
export type Cell = readonly [number, number];

export interface CellNumbers {
  latentArea: number;
  latentDensity: number;
  area: number;
  density: number;
}

/** The square from -reach to reach in so many cells along each side; nodes are corners, middles of edges and of cells. */
export class Mesh {
  readonly side: number;
  private readonly whole: MeshImage[];
  private part: { layers: number; image: MeshImage } | null = null;

  constructor(
    private readonly flow: Flow2D,
    readonly cells = 20,
    readonly reach = 3,
  ) {
    this.side = 2 * cells + 1;
    const count = this.side * this.side;
    const places = new Float64Array(2 * count);
    for (let node = 0; node < count; node++) {
      places[2 * node] = this.coordinate(node % this.side);
      places[2 * node + 1] = this.coordinate(Math.floor(node / this.side));
    }
    this.whole = [{ places, ladj: new Float64Array(count) }];
  }

  get depth(): number {
    return this.flow.maps.length;
  }

  get straight(): MeshImage {
    return this.whole[0];
  }

  /** The image after so many layers, the last perhaps in part. What whole layers do is computed once. */
  after(layers: number): MeshImage {
    const whole = Math.min(Math.floor(layers), this.depth);
    for (let k = this.whole.length; k <= whole; k++) {
      const map = this.flow.maps[k - 1];
      this.whole.push(this.moved(this.whole[k - 1], (z) => map.forward(z)));
    }
    if (layers <= whole || whole === this.depth) return this.whole[whole];
    if (this.part?.layers !== layers) {
      const map = this.flow.maps[whole];
      this.part = { layers, image: this.moved(this.whole[whole], (z) => map.partly(layers - whole, z)) };
    }
    return this.part.image;
  }

  /** The cell that holds z; null outside. */
  holding(z: Point): Cell | null {
    const [column, row] = z.map((value) => Math.floor(((value + this.reach) / (2 * this.reach)) * this.cells));
    return column >= 0 && row >= 0 && column < this.cells && row < this.cells ? [column, row] : null;
  }

  /** The cell whose image holds x; null where there is none. */
  under(image: MeshImage, x: Point): Cell | null {
    for (let row = 0; row < this.cells; row++)
      for (let column = 0; column < this.cells; column++)
        if (inside(this.outline(image, [column, row]), x)) return [column, row];
    return null;
  }

  /** Corners and middles of edges of the image of a cell, around it. */
  outline(image: MeshImage, [column, row]: Cell): Point[] {
    const [c, r] = [2 * column, 2 * row];
    const around: [number, number][] = [
      [c, r], [c + 1, r], [c + 2, r], [c + 2, r + 1], [c + 2, r + 2], [c + 1, r + 2], [c, r + 2], [c, r + 1],
    ];
    return around.map(([x, y]) => this.place(image, y * this.side + x));
  }

  place(image: MeshImage, node: number): Point {
    return [image.places[2 * node], image.places[2 * node + 1]];
  }

  /** The node in the middle of a cell. */
  middle([column, row]: Cell): number {
    return (2 * row + 1) * this.side + 2 * column + 1;
  }

  /** log p(z) in the middle of a cell, before the map. */
  logLatent(cell: Cell): number {
    return logNormal(this.place(this.straight, this.middle(cell)));
  }

  /** Area and density, in its middle, of a cell and of its image. */
  numbers(image: MeshImage, cell: Cell): CellNumbers {
    const logLatent = this.logLatent(cell);
    return {
      latentArea: ((2 * this.reach) / this.cells) ** 2,
      latentDensity: Math.exp(logLatent),
      area: areaOf(this.outline(image, cell)),
      density: Math.exp(logLatent - image.ladj[this.middle(cell)]),
    };
  }

  /** The largest |log|det|| among cells that are not far out, at least 0.25. */
  largestLadj(image: MeshImage): number {
    let largest = 0.25;
    this.each((cell) => {
      const size = Math.abs(image.ladj[this.middle(cell)]);
      if (this.logLatent(cell) > logNormal([2.5, 0]) && Number.isFinite(size)) largest = Math.max(largest, size);
    });
    return largest;
  }

  each(visit: (cell: Cell) => void): void {
    for (let row = 0; row < this.cells; row++) for (let column = 0; column < this.cells; column++) visit([column, row]);
  }

  /** A square around the image of what is not far out. */
  square(image: MeshImage): [Point, Point] {
    const ends = [Infinity, -Infinity, Infinity, -Infinity];
    for (let node = 0; node < image.ladj.length; node++) {
      const [z1, z2] = this.place(this.straight, node);
      const [x1, x2] = this.place(image, node);
      if (Math.hypot(z1, z2) > 2.2 || !Number.isFinite(x1 + x2)) continue;
      [ends[0], ends[1]] = [Math.min(ends[0], x1), Math.max(ends[1], x1)];
      [ends[2], ends[3]] = [Math.min(ends[2], x2), Math.max(ends[3], x2)];
    }
    if (ends[1] < ends[0]) return [[-3, 3], [-3, 3]];
    const half = Math.max(0.75 * Math.max(ends[1] - ends[0], ends[3] - ends[2]), 1e-3);
    const [x, y] = [(ends[0] + ends[1]) / 2, (ends[2] + ends[3]) / 2];
    return [[x - half, x + half], [y - half, y + half]];
  }

  private coordinate(index: number): number {
    return this.reach * ((2 * index) / (this.side - 1) - 1);
  }

  private moved(from: MeshImage, map: (z: Point) => { x: Point; ladj: number }): MeshImage {
    const places = new Float64Array(from.places.length);
    const ladj = new Float64Array(from.ladj.length);
    for (let node = 0; node < ladj.length; node++) {
      const step = map(this.place(from, node));
      places[2 * node] = step.x[0];
      places[2 * node + 1] = step.x[1];
      ladj[node] = from.ladj[node] + step.ladj;
    }
    return { places, ladj };
  }
}

/** The area of a polygon. */
export function areaOf(polygon: readonly Point[]): number {
  let twice = 0;
  polygon.forEach(([x, y], k) => {
    const [nextX, nextY] = polygon[(k + 1) % polygon.length];
    twice += x * nextY - nextX * y;
  });
  return Math.abs(twice) / 2;
}

/** Whether a polygon holds a point. */
export function inside(polygon: readonly Point[], [x, y]: Point): boolean {
  let odd = false;
  polygon.forEach(([x0, y0], k) => {
    const [x1, y1] = polygon[(k + 1) % polygon.length];
    if (y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) odd = !odd;
  });
  return odd;
}
