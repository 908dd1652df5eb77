// Break it, fourth way: a triangular map that reads the columns in the wrong order.

import { formula } from "../../page/formula";
import { type Colour, Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { select, slider } from "../../page/ui";
import { type Demo, demoOf, type DemoPlace, nats } from "./demo";
import { numberOf } from "../../page/url_values";
import { facts } from "../../page/facts";
import { Banana, ENTROPY, type Order } from "./wrong_order";

const SHOWN: Point = [-4, 8];
const GRID = 96;
const ORDERS: readonly (readonly [Order, string])[] = [
  ["right", "x₁, then x₂ given x₁"],
  ["swapped", "columns swapped by mistake"],
  ["refitted", "x₂, then x₁ given x₂, fitted by normals"],
];

export function orderDemo(place: DemoPlace): Demo {
  let bend = numberOf(place.state.db, 0.8, 0.2, 1);
  let order: Order = ORDERS.some(([name]) => name === place.state.do) ? (place.state.do as Order) : "swapped";
  let banana = new Banana(bend);
  let field = new Float64Array(GRID * GRID);
  const numbers = facts([
    ["integral", "integral of the model’s density"],
    ["nll", "NLL of the data under the model"],
    ["nll-right", "NLL in the right order"],
    ["entropy", "entropy: the lowest NLL on average"],
  ]);
  const colour = (): Colour => (order === "right" ? "orange" : "red");
  const options = { x: SHOWN, y: SHOWN, aspect: 1, xTitle: "x₁", yTitle: "x₂" };
  const model = new Plot({ ...options, label: "Data as points over the density of the model" }, (plot) => {
    plot.field(field, GRID, SHOWN, SHOWN, colour());
    plot.dots(banana.data(), "ink", 1.7, 0.6);
    plot.text("points: data; colour: the model", [7.8, 7.2], "ink", "right");
  });
  const samples = new Plot({ ...options, label: "Samples of the model" }, (plot) => {
    plot.dots(banana.samples(order), colour(), 1.8, 0.65);
    plot.text("samples of the model", [7.8, 7.2], colour(), "right");
  });
  const view = demoOf({
    formula: formula("q(x_1, x_2) = q(x_1)\\, q(x_2 \\mid x_1) = q(x_2)\\, q(x_1 \\mid x_2)"),
    controls: [
      select("the model reads", ORDERS, order, (name) => {
        order = name;
        changed();
        place.keep({ do: order });
      }).element,
      slider("bend of the data", { min: 0.2, max: 1, step: 0.05, value: bend }, (value) => {
        bend = value;
        changed();
        place.keep({ db: bend });
      }).element,
    ],
    plots: [model, samples],
    facts: numbers.element,
    why:
      "The functions of x₂ given x₁ say nothing about x₁ given x₂: with swapped columns the integral is still 1, but it is " +
      "the density of another banana, lying on its side, and the NLL of the data is far too high. Any order can be right, " +
      "but each needs its own functions: given x₂ there are two x₁, left and right, which no single normal can be, so a " +
      "chain of Gaussians refitted in that order stays worse, and a more expressive conditional is needed.",
  });

  function changed(): void {
    banana = new Banana(bend);
    const step = (SHOWN[1] - SHOWN[0]) / GRID;
    field = new Float64Array(GRID * GRID);
    for (let row = 0; row < GRID; row++)
      for (let column = 0; column < GRID; column++) {
        const x: Point = [SHOWN[0] + (column + 0.5) * step, SHOWN[0] + (row + 0.5) * step];
        field[row * GRID + column] = Math.exp(banana.logDensity(order, x));
      }
    numbers.set("integral", banana.integral(order));
    numbers.set("nll", banana.nll(order), nats(banana.nll(order)));
    numbers.set("nll-right", banana.nll("right"), nats(banana.nll("right")));
    numbers.set("entropy", ENTROPY, nats(ENTROPY));
    view.request();
  }

  changed();
  return {
    ...view,
    python: () =>
      [
        "import torch",
        "",
        "import pushforward as pf",
        "from pushforward.bijections import Banana",
        "from pushforward.distributions import Flow, Normal",
        "",
        `# x1 = z1, x2 = z2 / 2 + ${bend} (z1² - 1)`,
        `flow = Flow(Normal([0.0, 0.0], [1.0, 0.5]), Banana(${bend.toFixed(2)}))`,
        "with torch.no_grad():",
        "    x = flow.sample(400, generator=torch.Generator().manual_seed(6))",
        '    print(f"right order: NLL {-flow.log_prob(x).mean():.3f}")',
        '    print(f"columns swapped: NLL {-flow.log_prob(x.flip(-1)).mean():.3f}")',
        'pf.plots.plot_density(flow, x).savefig("right.png")',
        'pf.plots.plot_density(flow, x.flip(-1)).savefig("swapped.png")',
      ].join("\n") + "\n",
  };
}
