// Break it, second way: a map that turns back, so that one x comes from several z.

import { formula } from "../../page/formula";
import { Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { shown, slider } from "../../page/ui";
import { type Demo, demoOf, type DemoPlace, nats } from "./demo";
import { numberOf } from "../../page/url_values";
import { facts } from "../../page/facts";
import { FoldedMap, LATENTS } from "./folded_map";
import { drawBars, histogram } from "../../maths/histogram";

const SHOWN: Point = [-4, 4];
/** Of z: every z with T(z) = x is in it. */
const WIDE: Point = [-6, 6];

export function foldDemo(place: DemoPlace): Demo {
  // Steps around zero, where the map would send a whole interval to one point.
  let slope = (Math.round(10 * numberOf(place.state.bm, -0.75, -1.45, 1.45) - 0.5) + 0.5) / 10;
  let x = numberOf(place.state.bx, 0.3, -3, 3);
  let map = new FoldedMap(slope);
  let bars: number[] = [];
  let all: Point[] = [];
  let highest = 1;
  const numbers = facts([
    ["solutions", "z with T(z) = x"],
    ["integral-wrong", "integral with one branch", "wrong"],
    ["integral", "integral of the sum over branches"],
    ["nll-wrong", "NLL with one branch", "wrong"],
    ["nll", "NLL with all branches"],
  ]);
  const picture = new Plot(
    { label: "The map, and all z that it takes to x", x: WIDE, y: SHOWN, aspect: 0.8, xTitle: "z", yTitle: "x = T(z)" },
    (plot) => {
      plot.box(-1, 1, SHOWN[0], SHOWN[1], slope < 0 ? "red" : "sky", 0.07);
      plot.curve([[WIDE[0], x], [WIDE[1], x]], "orange", { width: 1.5, dash: [4, 4] });
      plot.curve([-9, -1, 1, 9].map((z) => [z, map.forward(z)]), "ink", { width: 2.5 });
      map.branches(x).forEach((z, k) => {
        plot.curve([[z, SHOWN[0]], [z, x]], "blue", { width: 1, dash: [2, 3] });
        plot.handle([z, x], k === 0 ? "red" : "blue", 6);
      });
      const found = map.branches(x).map((z) => shown(z, 2));
      const line = `T(z) = ${shown(x, 2)} at z = ${found.join(", ")}`;
      if (x > 2.2) plot.text(line, [5.8, -3.7], "blue", "right");
      else plot.text(line, [-5.8, 2.9], "blue");
    },
  );
  const density = new Plot(
    { label: "Samples as bars, the density with one branch and with all", x: SHOWN, y: [0, 1], aspect: 0.8, xTitle: "x" },
    (plot) => {
      drawBars(plot, bars, SHOWN);
      plot.area(all, "orange", 0.1);
      plot.curve(all, "orange", { width: 2.5 });
      plot.curve(all.map(([at]) => [at, map.density(at, false)]), "red", { dash: [7, 5] });
      plot.curve([[x, 0], [x, 1.35 * highest]], "ink", { width: 1, opacity: 0.5 });
      plot.text("bars: samples T(z)", [-3.85, 1.26 * highest], "soft");
      plot.text("sum over branches", [-3.85, 1.17 * highest], "orange");
      plot.text("smallest z alone", [-3.85, 1.08 * highest], "red");
    },
  );
  const view = demoOf({
    formula: formula("q(x) = \\sum_{z:\\, T(z) = x} \\frac{p(z)}{|T'(z)|}"),
    controls: [
      slider("slope of the middle", { min: -1.45, max: 1.45, step: 0.1, value: slope }, (value) => {
        slope = value;
        changed();
        place.keep({ bm: slope });
      }).element,
      slider("look at x", { min: -3, max: 3, step: 0.05, value: x }, (value) => {
        x = value;
        changed();
        place.keep({ bx: x });
      }).element,
    ],
    plots: [picture, density],
    facts: numbers.element,
    why:
      "Where the slope is negative the map turns back, and up to three z share one x: a formula that looks at one of " +
      "them (and takes log T′, which does not exist for T′ < 0) loses the probability of the others, so its integral is " +
      "below 1. Summing p / |T′| over all branches repairs it, but in many dimensions nobody knows all branches, which is " +
      "why flows are built from bijections.",
  });

  function changed(): void {
    map = new FoldedMap(slope);
    bars = histogram(LATENTS.map((z) => map.forward(z)), SHOWN, 40);
    const edge = Math.abs(slope);
    const places = [...Array.from({ length: 801 }, (_, k) => -4 + k / 100), -edge - 1e-9, edge + 1e-9].sort((a, b) => a - b);
    all = places.map((at) => [at, map.density(at, true)]);
    highest = Math.max(...all.map(([, y]) => y), ...bars);
    density.ranges(SHOWN, [0, 1.35 * highest]);
    const found = map.branches(x);
    numbers.set("solutions", found.length, String(found.length));
    numbers.set("integral", map.integral(true));
    numbers.set("integral-wrong", map.integral(false));
    numbers.set("nll", map.nll(true), nats(map.nll(true)));
    numbers.set("nll-wrong", map.nll(false), nats(map.nll(false)));
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
        "",
        `m = ${shown(slope, 2).replace("−", "-")}  # slope of the middle piece`,
        "",
        "",
        "def T(z):",
        "    return torch.where(z.abs() < 1, m * z, z - (1 - m) * z.sign())",
        "",
        "",
        "try:",
        "    numbers = pf.plots.change_of_variables(T)",
        '    print(f"a bijection: the integral of q is {numbers.integral:.4f}")',
        "except ValueError as error:  # the library refuses maps that do not increase",
        "    print(error)",
      ].join("\n") + "\n",
  };
}
