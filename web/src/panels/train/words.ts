// What the page says about a training: what to look at, and the lines of Python that do the same.

import type { TrainChoices } from "./run";
import type { Point } from "../../protocol";

/** What to look at, in a sentence or two. */
export function whatToSee(family: string, univariate: string, data: string): string {
  const torn = ["moons", "rings", "two_spirals", "checkerboard", "eight_gaussians", "pinwheel"].includes(data);
  if (family === "planar")
    return "Each planar layer bends the plane along one line only. Watch how slowly the held-out NLL falls, and how much more depth helps here than in the other families.";
  if (univariate === "affine")
    return torn
      ? "Affine layers shift and scale one variable by amounts that depend on the other. They are smooth, and cannot tear the plane apart: look for thin bridges of density between the parts of the data. Splines leave fainter ones."
      : "Affine layers shift and scale one variable by amounts that depend on the other: given one variable, the other stays normal within a layer. Splines are free of that.";
  return torn
    ? "Splines bend each variable piece by piece, so that a few layers pull the parts of the data almost apart. Faint bridges remain: a continuous map with a continuous inverse cannot tear the plane."
    : "Splines bend each variable piece by piece. Watch the held-out NLL come down to the entropy of the data, which no model can go below on average.";
}

export interface PythonData {
  name: string;
  points: readonly Point[];
  file: string;
  columns: readonly [string, string];
}

/** Lines that draw or read the data, build the flow, fit it and show its density. */
export function trainLines(data: PythonData, choices: TrainChoices): string {
  const [imports, x] = dataLines(data);
  return `${imports}import torch
import pushforward as pf

${x}
torch.manual_seed(${choices.seed})
flow = ${flowLine(choices, data.name === "table" && data.file !== "")}
history = pf.fit(flow, x, steps=2_000, lr=${choices.learning_rate})
print(f"{-history.best_validation:.3f} nats a point on held-out points")

figure = pf.plots.plot_density(flow, x)
figure.savefig("density.png")
`;
}

function dataLines({ name, points, file, columns }: PythonData): [string, string] {
  if (name === "drawn" && !points.length) return ["", "x = torch.randn(500, 2)  # in place of the points that you draw"];
  if (name === "drawn") return ["", `x = torch.tensor(${pointsAsText(points)})`];
  if (name !== "table") return ["", `x = pf.distributions.targets.${name}().sample(8_000)`];
  if (!file) return ["", "x = torch.randn(500, 2)  # in place of two columns of a table that you open"];
  const names = JSON.stringify(columns);
  return [
    "import pandas as pd\n",
    `table = ${readerOf(file)}\n`
      + `x = torch.tensor(table[${names}].dropna().to_numpy(), dtype=torch.float64)`,
  ];
}

/** How pandas reads a file of this name. */
function readerOf(file: string): string {
  const name = JSON.stringify(file);
  if (/\.(parquet|pq)$/i.test(file)) return `pd.read_parquet(${name})`;
  if (/\.(feather|arrow)$/i.test(file)) return `pd.read_feather(${name})`;
  return /\.tsv(\.\w+)?$/i.test(file) ? `pd.read_csv(${name}, sep="\\t")` : `pd.read_csv(${name})`;
}

/** Rows of ten points each. */
function pointsAsText(points: readonly Point[]): string {
  const rows: string[] = [];
  for (let k = 0; k < points.length; k += 10)
    rows.push(points.slice(k, k + 10).map(([x, y]) => `[${x.toFixed(3)}, ${y.toFixed(3)}]`).join(", "));
  return `[\n    ${rows.join(",\n    ")},\n]`;
}

/** Columns of a table keep all their digits: the flow standardises them in float64. */
function flowLine({ family, depth, univariate, hidden }: TrainChoices, wide: boolean): string {
  const digits = wide ? ', data_dtype="float64"' : "";
  const network = `hidden=(${hidden}, ${hidden})${digits}`;
  if (family === "planar") return `pf.flows.planar(2, depth=${depth}${digits})`;
  if (univariate === "spline") {
    const layer = family === "maf" ? "autoregressive" : "coupling";
    return `pf.flows.nsf(2, layer="${layer}", bins=8, depth=${depth}, ${network})`;
  }
  return `pf.flows.${family === "maf" ? "maf" : "real_nvp"}(2, depth=${depth}, ${network})`;
}
