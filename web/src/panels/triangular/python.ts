// The triangular map of the panel as a bijection of the library.

import type { DensityName } from "../../maths/densities";
import type { TriangularParams } from "./map";

const BASES: Partial<Record<DensityName, string[]>> = {
  normal: ["from pushforward.distributions import Flow, StandardNormal", "", "base = StandardNormal(SIZE)"],
  bumps: [
    "from pushforward.distributions import Flow, GaussianMixture",
    "",
    "corners = [list(corner) for corner in itertools.product([-0.9, 0.9], repeat=SIZE)]",
    "diagonal = [[0.19 if i == j else 0.0 for j in range(SIZE)] for i in range(SIZE)]",
    "base = GaussianMixture([1.0] * len(corners), corners, covariances=[diagonal] * len(corners))",
  ],
  skewed: [
    "from pushforward.distributions import Flow, Gumbel",
    "",
    "base = Gumbel(SIZE, loc=-0.45005, scale=0.77970)  # of mean 0 and variance 1",
  ],
};

export function triangularPython(
  size: number, params: TriangularParams, base: DensityName, x: readonly number[],
): string {
  const { scale, coupling, bend, spread, skew } = params;
  const lines = [
    ...(base === "bumps" ? ["import itertools", ""] : []),
    "import torch",
    "",
    "import pushforward as pf",
    "from pushforward.core.bijection import TriangularMap",
    ...(BASES[base] ?? BASES.normal!).map((line) => line.replaceAll("SIZE", String(size))),
    `a, c, b, k, r = ${[scale, coupling, bend, spread, skew].join(", ")}`,
    "",
    "",
    "@pf.configurable",
    "class PanelMap(TriangularMap):",
    '    """x_j = μ_j + σ_j h(z_j), with μ_j and σ_j from z_1 … z_(j-1)."""',
    "",
    "    examples = ({},)",
    "",
    "    def __init__(self):",
    "        super().__init__()",
    `        self.in_shape = self.out_shape = (${size},)`,
    "",
    "    def parts(self, j, z):",
    "        near = [z[i] / (j - i) for i in range(j)]",
    "        mean = sum((c * z[i] + b * (z[i] ** 2 - 1)) / (j - i) for i in range(j))",
    "        return mean, a + k * torch.tanh(torch.as_tensor(sum(near)))",
    "",
    "    def _forward_and_slopes(self, z, context):",
    "        columns, x, log_slopes = z.unbind(-1), [], []",
    "        for j, z_j in enumerate(columns):",
    "            mean, log_scale = self.parts(j, columns)",
    "            root = (1 + z_j**2).sqrt()",
    "            x.append(mean + log_scale.exp() * (z_j + r * (root - 1)))",
    "            log_slopes.append(log_scale + torch.log1p(r * z_j / root))",
    "        return torch.stack(x, -1), torch.stack(log_slopes, -1)",
    "",
    "    def _inverse_and_slopes(self, x, context):",
    "        z = []  # one feature after the other: each T_j once",
    "        for j, x_j in enumerate(x.unbind(-1)):",
    "            mean, log_scale = self.parts(j, z)",
    "            u = (x_j - mean) / log_scale.exp() + r",
    "            z.append((u - r * (u**2 + 1 - r**2).sqrt()) / (1 - r**2))",
    "        z = torch.stack(z, -1)",
    "        return z, -self._forward_and_slopes(z, None)[1]",
    "",
    "",
    "flow = Flow(base, PanelMap())",
    `x = torch.tensor([${x.map((value) => value.toFixed(4)).join(", ")}])`,
    'pf.plots.plot_jacobian(flow, at=x).savefig("jacobian.png")',
    'pf.plots.plot_conditionals(flow, at=x).savefig("conditionals.png")',
    "print(flow.log_prob(x).exp())  # q(x), the product of the conditional densities",
  ];
  return lines.join("\n") + "\n";
}
