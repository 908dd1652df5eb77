// What browser and Python say to each other; see PROTOCOL.md.

export type Point = [number, number];

export interface DenseLayer {
  rows: number;
  columns: number;
  weight: string;
  bias: string;
}

export interface NetworkJson {
  activation: string;
  residual: boolean;
  layers: DenseLayer[];
}

export type UnivariateJson =
  | { type: "affine"; bound: number }
  | { type: "spline"; bins: number; bound: number; tails: "identity" | "linear"; min_bin: number; min_slope: number };

export type PartJson = { name: string } & (
  | { type: "linear"; matrix: [Point, Point]; shift: Point }
  | { type: "squash"; inverse: boolean }
  | { type: "planar"; direction: Point; push: Point; bias: number; inverse: boolean }
  | {
      type: "triangular";
      first: 0 | 1;
      univariate: UnivariateJson;
      start: number[] | null;
      free: [number, number] | null;
      network: NetworkJson;
      inverse: boolean;
    }
);

export interface FlowJson {
  parts: PartJson[];
}

/** A way to a session in Python: a socket, or the messages of a notebook widget. */
export interface Transport {
  call<T>(method: string, options?: Record<string, unknown>): Promise<T>;
  on<T>(event: string, handler: (data: T) => void): () => void;
  close(): void;
}

/** A sentence from Python for the user. */
export class LabError extends Error {}
