// Maps to begin with, and the lines of Python that draw the same picture.

import { DENSITIES, type Density, type DensityName } from "../../maths/densities";
import { MonotoneMap } from "../../maths/monotone";
import { normalCdf, normalPdf } from "../../maths/normal";

export type PresetName = "identity" | "scale" | "shift" | "s" | "uniform" | "normal";

export const PRESETS: readonly (readonly [PresetName, string])[] = [
  ["identity", "Identity"],
  ["scale", "Scale by 2"],
  ["shift", "Shift by 1"],
  ["s", "S-shape"],
  ["uniform", "Uniform to uniform"],
  ["normal", "Uniform to normal"],
];

/** Where the quantile function of the normal is interpolated. */
const QUANTILES = [-3, -2.25, -1.5, -0.75, 0, 0.75, 1.5, 2.25, 3];
const KNOTS = 7;
/** Between the x of neighbouring knots, at least. */
const GAP = 0.1;

/** What a preset changes p(z) to: the last two are about a uniform z. */
export function baseOf(preset: PresetName, present: DensityName): DensityName {
  return preset === "uniform" || preset === "normal" ? "uniform" : present;
}

export function presetMap(preset: PresetName, base: Density): MonotoneMap {
  if (preset === "normal")
    return new MonotoneMap(QUANTILES.map((x) => [round(normalCdf(x)), x]), QUANTILES.map((x) => 1 / normalPdf(x)));
  const [low, high] = base.span;
  const [middle, half] = [(low + high) / 2, (high - low) / 2];
  const tanh = (z: number) => Math.tanh((3 * (z - middle)) / half);
  // T and its slope.
  const maps: Record<Exclude<PresetName, "normal">, [(z: number) => number, (z: number) => number]> = {
    identity: [(z) => z, () => 1],
    scale: [(z) => 2 * z, () => 2],
    shift: [(z) => z + 1, () => 1],
    s: [(z) => middle + 0.8 * half * tanh(z) + 0.2 * (z - middle), (z) => 2.4 * (1 - tanh(z) ** 2) + 0.2],
    uniform: [(z) => 2 * z + 1, () => 2],
  };
  const [map, slope] = maps[preset];
  return new MonotoneMap(grid(base).map((z) => [z, round(map(z))]), grid(base).map(slope));
}

/** The same map on the grid of another density. */
export function movedTo(base: Density, map: MonotoneMap): MonotoneMap {
  const x = grid(base).map((z) => Math.min(11, Math.max(-11, map.forward(z))));
  for (let k = 1; k < KNOTS; k++) x[k] = Math.max(x[k], x[k - 1] + GAP);
  for (let k = KNOTS - 2; k >= 0; k--) x[k] = Math.min(x[k], 11 - GAP * (KNOTS - 1 - k));
  return new MonotoneMap(grid(base).map((z, k) => [z, round(x[k])]));
}

function grid(base: Density): number[] {
  const [low, high] = base.span;
  return Array.from({ length: KNOTS }, (_, k) => round(low + ((high - low) * k) / (KNOTS - 1)));
}

/** A number as Python writes a float. */
function real(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

function round(value: number): number {
  return Math.round(1e6 * value) / 1e6;
}

const PYTHON: Partial<Record<DensityName, { name: string; call: string }>> = {
  normal: { name: "StandardNormal", call: "StandardNormal(1)" },
  uniform: { name: "Uniform", call: "Uniform([0.0], [1.0])" },
  logistic: { name: "Logistic", call: "Logistic(1)" },
  mixture: {
    name: "GaussianMixture",
    call: "GaussianMixture([1.0, 1.0], [[-1.5], [1.5]], covariances=[[[0.36]], [[0.36]]])",
  },
};

export function pythonOf(base: DensityName, map: MonotoneMap, intervals: number): string {
  const p = PYTHON[base] ?? PYTHON.normal!;
  const straight = map.slopes.every((slope) => Math.abs(slope - map.slopes[0]) < 1e-6);
  const [[z0, x0]] = map.knots;
  const factor = Number(map.slopes[0].toPrecision(6));
  const shift = Number((x0 - factor * z0).toFixed(6));
  const lines = straight
    ? ["import pushforward as pf", "from pushforward.bijections import Scale"]
    : ["import torch", "", "import pushforward as pf"];
  lines.push(`from pushforward.distributions import ${p.name}`, "", `base = ${p.call}  # ${DENSITIES[base].title}`);
  if (straight) lines.push(`T = Scale(1, factor=${real(factor)}, shift=${real(shift)})  # x = factor * z + shift`);
  else lines.push(...splineLines(map));
  lines.push(
    "",
    `figure = pf.plots.plot_change_of_variables(T, base, intervals=${intervals})`,
    'figure.savefig("change_of_variables.png")',
    `numbers = pf.plots.change_of_variables(T, base, intervals=${intervals})`,
    "print(numbers.integral, numbers.naive_integral)  # of q, and of p(T⁻¹(x))",
  );
  return lines.join("\n") + "\n";
}

function splineLines(map: MonotoneMap): string[] {
  const list = (values: readonly number[]) => `[${values.map((value) => Number(value.toPrecision(9))).join(", ")}]`;
  return [
    "",
    "# The knots (z, x) of an increasing map, and its slopes there.",
    `zs = torch.tensor(${list(map.knots.map(([z]) => z))}, dtype=torch.float64)`,
    `xs = torch.tensor(${list(map.knots.map(([, x]) => x))}, dtype=torch.float64)`,
    `slopes = torch.tensor(${list(map.slopes)}, dtype=torch.float64)`,
    "",
    "",
    "def T(z):",
    '    """Rational-quadratic between the knots, linear beyond them."""',
    "    k = torch.bucketize(z.detach(), zs[1:-1].clone(), right=True)",
    "    width, height = zs[k + 1] - zs[k], xs[k + 1] - xs[k]",
    "    s, t = height / width, ((z - zs[k]) / width).clamp(0, 1)",
    "    top = s * t**2 + slopes[k] * t * (1 - t)",
    "    inside = xs[k] + height * top / (s + (slopes[k] + slopes[k + 1] - 2 * s) * t * (1 - t))",
    "    x = torch.where(z < zs[0], xs[0] + slopes[0] * (z - zs[0]), inside)",
    "    return torch.where(z > zs[-1], xs[-1] + slopes[-1] * (z - zs[-1]), x)",
    "",
  ];
}
