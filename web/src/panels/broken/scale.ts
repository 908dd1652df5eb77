// Break it, first way: drop the log-determinant, and let a scale be learned.

import { formula } from "../../page/formula";
import { Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { button, slider } from "../../page/ui";
import { type Demo, demoOf, type DemoPlace, nats } from "./demo";
import { numberOf } from "../../page/url_values";
import { facts, significant } from "../../page/facts";
import { drawBars, histogram } from "../../maths/histogram";
import { BEST, descend, integralOf, LATENTS, POINTS, rightNll, wrongNll } from "./no_log_det";
import { normalPdf } from "../../maths/normal";

const LOGS: Point = [-0.6, 1.5];
const SHOWN: Point = [-8, 8];
const BARS = histogram(POINTS, SHOWN, 32);

export function scaleDemo(place: DemoPlace): Demo {
  let log = numberOf(place.state.as, -0.3, ...LOGS);
  let frame = 0;
  const scale = () => 10 ** log;
  const control = slider("log₁₀ of the scale s", { min: LOGS[0], max: LOGS[1], step: 0.01, value: log }, (value) => {
    cancelAnimationFrame(frame);
    log = value;
    changed();
    place.keep({ as: log });
  });
  const numbers = facts([
    ["scale", "scale s"],
    ["integral", "integral with the log-determinant"],
    ["integral-wrong", "integral without it", "wrong"],
    ["nll", "NLL with it"],
    ["nll-wrong", "“NLL” without it", "wrong"],
    ["best", "scale of highest likelihood"],
  ]);
  const density = new Plot(
    { label: "Data as bars, the density with and without the log-determinant, samples of the model", x: SHOWN, y: [0, 0.62], xTitle: "x" },
    (plot) => {
      const s = scale();
      const places = Array.from({ length: 401 }, (_, k) => SHOWN[0] + (k * (SHOWN[1] - SHOWN[0])) / 400);
      const right: Point[] = places.map((x) => [x, normalPdf(x / s) / s]);
      drawBars(plot, BARS, SHOWN);
      plot.area(right, "orange", 0.12);
      plot.curve(right, "orange", { width: 2.5 });
      plot.curve(places.map((x) => [x, normalPdf(x / s)]), "red", { dash: [7, 5] });
      plot.dots(LATENTS.map((z) => [s * z, 0.012]), "blue", 2, 0.6);
      plot.text("bars: data", [-7.8, 0.57], "soft");
      plot.text("dots: samples s z", [-7.8, 0.51], "blue");
      plot.text("q(x) = p(x/s) / s", [7.8, 0.57], "orange", "right");
      plot.text("p(x/s)", [7.8, 0.51], "red", "right");
    },
  );
  const curves = new Plot(
    { label: "Both negative log-likelihoods against the scale", x: LOGS, y: [0, 6], xTitle: "log₁₀ s" },
    (plot) => {
      const logs = Array.from({ length: 300 }, (_, k) => LOGS[0] + (k * (LOGS[1] - LOGS[0])) / 299);
      plot.curve(logs.map((at) => [at, rightNll(10 ** at)]), "orange", { width: 2.5 });
      plot.curve(logs.map((at) => [at, wrongNll(10 ** at)]), "red", { dash: [7, 5] });
      plot.curve([[log, 0], [log, 6]], "ink", { width: 1, opacity: 0.6 });
      plot.handle([log, rightNll(scale())], "orange", 6);
      plot.handle([log, wrongNll(scale())], "red", 6);
      plot.curve([[Math.log10(BEST), 0], [Math.log10(BEST), 0.25]], "orange", { width: 3 });
      plot.text("NLL: lowest at the best s", [1.45, 5.5], "orange", "right");
      plot.text("without log|det|: falls for ever", [1.45, 4.9], "red", "right");
    },
  );
  const view = demoOf({
    formula: formula("-\\log q(x) = -\\log p(x / s) + \\log s"),
    controls: [
      control.element,
      button("Fit without the log-determinant", () => fit(false), "main"),
      button("Fit with it", () => fit(true)),
    ],
    plots: [density, curves],
    facts: numbers.element,
    why:
      "Without log s nothing pays for stretching: the larger s, the nearer every x / s is to 0, where p is highest, so the " +
      "wrong loss falls for ever and the scale explodes. What it calls a density has the integral s, and the samples s z " +
      "fly apart.",
  });

  function changed(): void {
    const s = scale();
    numbers.set("scale", s, significant(s));
    numbers.set("integral", integralOf(s, 1));
    numbers.set("integral-wrong", integralOf(s, 0));
    numbers.set("nll", rightNll(s), nats(rightNll(s)));
    numbers.set("nll-wrong", wrongNll(s), nats(wrongNll(s)));
    numbers.set("best", BEST, significant(BEST));
    view.request();
  }

  /** Gradient descent, one or two steps a frame; without motion, sixty at once. */
  function fit(right: boolean): void {
    cancelAnimationFrame(frame);
    const limits: Point = [10 ** LOGS[0], 10 ** LOGS[1]];
    const step = (): boolean => {
      const before = scale();
      const after = descend(before, right, limits);
      log = Math.log10(after);
      return Math.abs(after - before) > 1e-5 * before && after < limits[1];
    };
    const finish = () => {
      log = Math.round(1000 * log) / 1000;
      control.set(log);
      changed();
      place.keep({ as: log });
    };
    if (place.lab.still()) {
      for (let k = 0; k < 60; k++) step();
      return finish();
    }
    const animate = () => {
      const more = step() && (right || step());
      if (!more) return finish();
      control.set(log);
      changed();
      frame = requestAnimationFrame(animate);
      return undefined;
    };
    return animate();
  }

  changed();
  return {
    ...view,
    destroy() {
      cancelAnimationFrame(frame);
      view.destroy();
    },
    python: () =>
      [
        "import torch",
        "",
        "from pushforward.bijections import Scale",
        "from pushforward.distributions import Flow, StandardNormal",
        "",
        "x = 1.5 * torch.randn(200, 1, generator=torch.Generator().manual_seed(1))",
        `for s in (0.5, 1.5, 5.0, 20.0, ${Number(scale().toPrecision(4))}):`,
        "    flow = Flow(StandardNormal(1), Scale(1, factor=s))",
        "    right = -flow.log_prob(x).mean()",
        "    wrong = -flow.base.log_prob(flow.to_latent(x)).mean()  # the log-determinant is missing",
        '    print(f"s = {s}: with log|det| {right:.3f}, without {wrong:.3f} nats")',
      ].join("\n") + "\n",
  };
}
