// The small perceptrons of layers, evaluated from the weights that Python sends.

import type { NetworkJson } from "../protocol";

/** As `networks.trunk.INPUT_LIMIT`. */
const INPUT_LIMIT = 1e6;

interface Layer {
  rows: number;
  columns: number;
  weight: Float32Array;
  bias: Float32Array;
}

const ACTIVATIONS: Record<string, (x: number) => number> = {
  relu: (x) => Math.max(0, x),
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  tanh: Math.tanh,
};

/** A perceptron that reads one number, with or without skip connections. */
export class Network {
  private readonly layers: Layer[];
  private readonly act: (x: number) => number;
  private readonly residual: boolean;
  private lastInput = NaN;
  private lastOutput: Float64Array = new Float64Array(0);

  constructor(json: NetworkJson) {
    this.layers = json.layers.map(({ rows, columns, weight, bias }) => ({
      rows, columns, weight: floats(weight), bias: floats(bias),
    }));
    this.act = ACTIVATIONS[json.activation];
    this.residual = json.residual;
  }

  /** Its outputs; those of the last input are kept. */
  evaluate(input: number): Float64Array {
    if (input !== this.lastInput) [this.lastInput, this.lastOutput] = [input, this.evaluateAt(Float64Array.of(input))];
    return this.lastOutput;
  }

  /** Its outputs at each place, one after the other: (outputs, places) by rows. */
  evaluateAt(places: Float64Array): Float64Array {
    const { layers, act, residual } = this;
    const count = places.length;
    const last = layers[layers.length - 1];
    let h: Float64Array = places.map((place) => Math.min(INPUT_LIMIT, Math.max(-INPUT_LIMIT, place)));
    if (layers.length === 1) return affine(last, h, count);
    if (!residual) {
      for (const layer of layers.slice(0, -1)) h = affine(layer, h, count).map(act);
      return affine(last, h, count);
    }
    h = affine(layers[0], h, count);
    for (let k = 1; k + 1 < layers.length; k += 2) {
      const change = affine(layers[k + 1], affine(layers[k], h.map(act), count).map(act), count);
      for (let unit = 0; unit < h.length; unit++) h[unit] += change[unit];
    }
    return affine(last, h.map(act), count);
  }
}

function affine(layer: Layer, input: Float64Array, count: number): Float64Array {
  const out = new Float64Array(layer.rows * count);
  for (let row = 0; row < layer.rows; row++) {
    const to = row * count;
    out.fill(layer.bias[row], to, to + count);
    for (let column = 0; column < layer.columns; column++) {
      const weight = layer.weight[row * layer.columns + column];
      if (weight === 0) continue;
      const from = column * count;
      for (let k = 0; k < count; k++) out[to + k] += weight * input[from + k];
    }
  }
  return out;
}

/** Little-endian float32 numbers in base64; a plain loop, which is much faster here than `Uint8Array.from`. */
function floats(text: string): Float32Array {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = raw.charCodeAt(k);
  return new Float32Array(bytes.buffer);
}

/** The error function, to 1e-15: a series near zero, a continued fraction beyond. */
function erf(x: number): number {
  const size = Math.abs(x);
  if (size > 6) return Math.sign(x);
  if (size < 2.5) {
    let [term, sum] = [size, size];
    for (let n = 1; n < 60; n++) {
      term *= (-size * size) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = (k / 2) / (size + fraction);
  return Math.sign(x) * (1 - Math.exp(-size * size) / (Math.sqrt(Math.PI) * (size + fraction)));
}
