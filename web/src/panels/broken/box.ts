// Break it, third way: a spline that is defined on a box alone, and points outside of it.

import { formula } from "../../page/formula";
import { Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { select, shown, slider } from "../../page/ui";
import { type Demo, demoOf, type DemoPlace, nats } from "./demo";
import { numberOf } from "../../page/url_values";
import { facts } from "../../page/facts";
import { drawBars, histogram } from "../../maths/histogram";
import { dataOf, LATENTS, SplineBox, type Tails } from "./spline_box";

const SHOWN: Point = [-6, 6];
const TAILS: readonly (readonly [Tails, string])[] = [
  ["cut", "none: cut at the box"],
  ["identity", "identity: x = z"],
  ["linear", "linear: straight on"],
];

export function boxDemo(place: DemoPlace): Demo {
  let bound = numberOf(place.state.cb, 1.5, 0.5, 4);
  let spread = numberOf(place.state.cs, 1.2, 0.4, 2.5);
  let tails: Tails = TAILS.some(([name]) => name === place.state.ct) ? (place.state.ct as Tails) : "cut";
  let box = new SplineBox(bound, tails);
  let data = dataOf(spread);
  let bars: number[] = [];
  let curve: Point[] = [];
  let highest = 1;
  const numbers = facts([
    ["mass", "P(|z| > B), outside of the box"],
    ["integral", "integral of q"],
    ["outside", "data outside of the box"],
    ["lost", "latents z without an image"],
    ["nll", "NLL of the data"],
  ]);
  const picture = new Plot(
    { label: "The spline and its box, with samples z and their images", x: SHOWN, y: SHOWN, aspect: 0.8, xTitle: "z", yTitle: "x = T(z)" },
    (plot) => {
      plot.box(-bound, bound, -bound, bound, "sky", 0.12);
      const inner = Array.from({ length: 201 }, (_, k) => -bound + (k * 2 * bound) / 200);
      const spline: Point[] = inner.map((z) => [z, box.forward(z)]);
      if (tails !== "cut") {
        const far: Point[] = [-20, 20].map((z) => [z, box.forward(z)]);
        plot.curve([far[0], spline[0]], "green", { width: 2.5 });
        plot.curve([spline[spline.length - 1], far[1]], "green", { width: 2.5 });
      }
      plot.curve(spline, "ink", { width: 2.5 });
      plot.dots(LATENTS.map((z) => [z, SHOWN[0] + 0.25]), "blue", 2, 0.5);
      const lost = LATENTS.filter((z) => Number.isNaN(box.forward(z)));
      plot.dots(lost.map((z) => [z, SHOWN[0] + 0.25]), "red", 3, 0.9);
      plot.dots(LATENTS.filter((z) => !Number.isNaN(box.forward(z))).map((z) => [SHOWN[0] + 0.25, box.forward(z)]), "orange", 2, 0.5);
    },
  );
  const density = new Plot(
    { label: "Data as bars and the density of the model", x: SHOWN, y: [0, 1], aspect: 0.8, xTitle: "x" },
    (plot) => {
      const wrong = tails === "cut";
      plot.box(-bound, bound, 0, 2 * highest, "sky", 0.08);
      drawBars(plot, bars, SHOWN);
      plot.area(curve, wrong ? "red" : "orange", 0.12);
      plot.curve(curve, wrong ? "red" : "orange", { width: 2.5, dash: wrong ? [7, 5] : [] });
      if (wrong) plot.dots(data.filter((x) => box.density(x) === 0).map((x) => [x, 0.015 * highest]), "red", 3, 0.9);
      plot.text("bars: data", [-5.8, 1.2 * highest], "soft");
      plot.text("q(x)", [-5.8, 1.11 * highest], wrong ? "red" : "orange");
      if (wrong) plot.text("red points: q = 0", [-5.8, 1.02 * highest], "red");
    },
  );
  const control = (label: string, key: string, range: { min: number; max: number; step: number; value: number }, set: (value: number) => void) =>
    slider(label, range, (value) => {
      set(value);
      changed();
      place.keep({ [key]: value });
    }).element;
  const view = demoOf({
    formula: formula("\\int_{-B}^{B} q(x)\\,dx = P(|z| \\le B) < 1"),
    controls: [
      select("outside of the box", TAILS, tails, (name) => {
        tails = name;
        changed();
        place.keep({ ct: tails });
      }).element,
      control("half width B of the box", "cb", { min: 0.5, max: 4, step: 0.1, value: bound }, (value) => (bound = value)),
      control("spread of the data", "cs", { min: 0.4, max: 2.5, step: 0.1, value: spread }, (value) => (spread = value)),
    ],
    plots: [picture, density],
    facts: numbers.element,
    why:
      "A spline has knots on [−B, B] only; without tails, latents outside have no image and data outside have the density " +
      "0, so the integral is P(|z| ≤ B) and a single such point makes the NLL infinite. Identity or linear tails go on " +
      "increasing to infinity: the map is a bijection of the whole line again, and the integral is 1.",
  });

  function changed(): void {
    box = new SplineBox(bound, tails);
    data = dataOf(spread);
    const edges = [-bound - 1e-9, -bound + 1e-9, bound - 1e-9, bound + 1e-9];
    const places = [...Array.from({ length: 601 }, (_, k) => -6 + k / 50), ...edges].sort((a, b) => a - b);
    curve = places.map((x) => [x, box.density(x)]);
    bars = histogram(data, SHOWN, 40);
    highest = Math.max(...curve.map(([, y]) => y), ...bars);
    density.ranges(SHOWN, [0, 1.3 * highest]);
    const [outside, lost] = [box.outside(data), tails === "cut" ? box.outside(LATENTS) : 0];
    const nll = box.nll(data);
    numbers.set("mass", box.massOutside(), shown(box.massOutside(), 5));
    numbers.set("integral", box.integral());
    numbers.set("outside", outside, `${outside} of ${data.length}`);
    numbers.set("lost", lost, `${lost} of ${LATENTS.length}`);
    numbers.set("nll", nll, nats(nll));
    view.request();
  }

  changed();
  return {
    ...view,
    python: () =>
      [
        "import torch",
        "",
        "from pushforward.bijections import Elementwise",
        "from pushforward.distributions import Flow, StandardNormal",
        "from pushforward.univariate import RationalQuadratic",
        "",
        `B = ${shown(bound, 2)}`,
        `x = ${shown(spread, 2)} * torch.randn(300, 1, generator=torch.Generator().manual_seed(4))`,
        `flow = Flow(StandardNormal(1), Elementwise(RationalQuadratic(4, bound=B, tails="${tails === "linear" ? "linear" : "identity"}"), 1))`,
        "with torch.no_grad():",
        "    log_q = flow.log_prob(x)",
        '    print(f"with tails: NLL {-log_q.mean():.3f}")',
        "    cut = log_q.where(x[:, 0].abs() <= B, torch.tensor(-torch.inf))  # density 0 outside of the box",
        '    print(f"cut at the box: NLL {-cut.mean():.3f}")',
        "    grid = torch.linspace(-B, B, 2001)[:, None]",
        '    print(f"integral over the box: {torch.trapezoid(flow.log_prob(grid).exp(), grid[:, 0]):.4f}")',
      ].join("\n") + "\n",
  };
}
