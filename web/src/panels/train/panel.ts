// Train live: a flow learns points of the plane while one looks on.

import { facts } from "../../page/facts";
import { formula } from "../../page/formula";
import { NllCurve, type Level } from "./nll_curve";
import type { Lab, Mounted, Panel } from "../../panel";
import type { Point } from "../../protocol";
import { keepTrained } from "../../shared";
import { TrainData, type Named } from "./data";
import { TrainRun, type Started, type Status, type TrainChoices, type TrainEvent } from "./run";
import { TrainView, type Shown } from "./view";
import { trainLines, whatToSee } from "./words";
import { button, checkbox, h, onceAFrame, python, refill, select, shown, slider, type Control } from "../../page/ui";
import { numberOf, wordOf } from "../../page/url_values";

const FAMILIES = [
  ["maf", "Autoregressive (MAF)"], ["coupling", "Coupling (Real NVP)"], ["planar", "Planar"],
] as const;
const UNIVARIATES = [["affine", "Affine"], ["spline", "Spline"]] as const;
const WIDTHS = ["8", "16", "32", "64"] as const;
const RATES = ["0.0003", "0.001", "0.003", "0.005", "0.01", "0.03"] as const;
/** Cells along a side of the true density. */
const TRUTH = 96;
const LAYERS: readonly (readonly [keyof Shown, string])[] = [
  ["data", "Data (green)"], ["density", "Density q (orange)"], ["samples", "Samples T(z) (blue)"], ["grid", "Grid"],
  ["truth", "True density p (green)"],
];
const SPEEDS = [["0", "As fast as it goes"], ["50", "50 steps a second"], ["10", "10 steps a second"], ["2", "2 steps a second"]] as const;

class Train implements Mounted {
  private shown: Shown;
  private readonly view: TrainView;
  private readonly data: TrainData;
  private readonly run: TrainRun;
  private readonly curve = new NllCurve();
  private readonly frame = onceAFrame(() => this.draw());
  private readonly off: (() => void)[] = [];
  private readonly family: Control<string>;
  private readonly univariate: Control<string>;
  private readonly depth: Control<number>;
  private readonly hidden: Control<string>;
  private readonly rate: Control<string>;
  private readonly speed: Control<string>;
  private readonly go = button("Train", () => this.press(), "main");
  private readonly stepButton = button("Step", () => this.pressStep());
  private readonly resetButton = button("Reset", () => this.pressReset());
  private readonly state = h("span", { class: "note", role: "status", "data-fact": "status" });
  private readonly sight = h("p", { class: "note" });
  private readonly numbers = facts([
    ["step", "Step"], ["seconds", "Seconds of training"], ["steps_per_second", "Steps a second"],
    ["loss", "Training NLL, nats"], ["held_out", "Held-out NLL, nats"], ["kl", "KL = NLL − entropy, nats"],
    ["updates", "Pictures a second"],
  ]);
  private latest: TrainEvent | null = null;
  private heldOut: number | null = null;
  private entropy: number | null = null;
  private drawn: number[] = [];
  private restart = 0;
  private gone = false;

  constructor(root: HTMLElement, private readonly lab: Lab) {
    const { state } = lab;
    const off = typeof state.v === "string" ? state.v : "";
    this.shown = { data: !off.includes("d"), density: !off.includes("q"), samples: !off.includes("s"), grid: off.includes("g"), truth: off.includes("t") };
    this.family = select<string>("Family", FAMILIES, wordOf(state.f, FAMILIES.map(([name]) => name), "maf"), () => this.settings());
    this.univariate = select<string>("Univariate map", UNIVARIATES, wordOf(state.u, ["affine", "spline"], "spline"), () => this.settings());
    this.depth = slider("Layers", { min: 1, max: 8, step: 1, value: Math.round(numberOf(state.k, 4, 1, 8)) }, () => this.settings());
    this.hidden = select<string>("Hidden width", WIDTHS.map((width) => [width, width] as const), wordOf(state.h, WIDTHS, "32"), () => this.settings());
    this.rate = select<string>("Learning rate", RATES.map((rate) => [rate, rate] as const), wordOf(state.r, RATES, "0.005"), () => this.settings());
    this.speed = select<string>("Speed", SPEEDS, wordOf(state.w, SPEEDS.map(([speed]) => speed), "0"), () => this.settings());
    this.view = new TrainView(this.shown, "Data, and the density, samples and grid of the flow that learns them");
    this.run = new TrainRun(lab.transport, {
      status: (status) => this.become(status),
      started: (started) => this.started(started),
      event: (event) => this.hear(event),
      failed: (error) => lab.say(error),
    });
    this.data = new TrainData(lab, this.view.plot, (ranges) => {
      this.view.setData(this.data.points, ranges, this.data.hint());
      void this.askTruth();
      this.restartSoon();
    });
    this.go.style.minWidth = "7em";
    root.append(
      this.data.element,
      h("div", { class: "controls" }, this.family.element, this.univariate.element, this.depth.element, this.hidden.element, this.rate.element),
      h("div", { class: "controls" }, this.go, this.stepButton, this.resetButton, this.speed.element, this.state),
      h("div", { class: "row" },
        h("div", {}, this.view.plot.element, h("div", { class: "controls" }, ...LAYERS.map((layer) => this.layer(...layer)))),
        h("div", {},
          h("div", { class: "caption" }, "Held-out negative log-likelihood (NLL): lower is better"),
          this.curve.plot.element, this.numbers.element, this.sight,
          h("p", { class: "note" },
            "Another panel lets the training pause, and Push-forward shows its flow. Green line: the entropy of the data where it is known; no model is below it on average. Dashed lines: a kernel density estimate and a mixture of Gaussians, fitted to the same points."),
          h("div", { class: "formula", tabindex: "0", role: "group", "aria-label": "Formula" }, formula("\\mathrm{KL}(p \\,\\Vert\\, q) = \\underbrace{-\\mathbb{E}\\log q(x)}_{\\text{NLL}} - \\underbrace{(-\\mathbb{E}\\log p(x))}_{\\text{entropy}} \\ge 0")),
        ),
      ),
      python(() => this.lines()),
    );
    this.become("none");
    this.describe();
    this.off.push(lab.onTheme(() => {
      this.view.plot.redraw();
      this.curve.redraw();
    }));
    void this.ask();
  }

  rest(): void {
    this.remember();
    window.clearTimeout(this.restart);
    this.restart = 0;
    this.run.rest();
  }

  destroy(): void {
    this.gone = true;
    this.remember();
    window.clearTimeout(this.restart);
    this.frame.cancel();
    this.run.destroy();
    this.data.destroy();
    for (const off of this.off) off();
    this.view.destroy();
    this.curve.plot.destroy();
  }

  private async ask(): Promise<void> {
    try {
      const info = await this.lab.transport.call<{ data: Named[]; families?: unknown[]; univariates?: unknown[] }>("info");
      if (this.gone) return;
      offerKnown(this.family, FAMILIES, info.families);
      offerKnown(this.univariate, UNIVARIATES, info.univariates);
      this.data.offer(info.data);
    } catch (error) {
      if (!this.gone) this.lab.say(error);
    }
  }

  private layer(name: keyof Shown, title: string): HTMLElement {
    return checkbox(title, this.shown[name], (there) => {
      this.shown = { ...this.shown, [name]: there };
      this.view.choose(this.shown, this.run.status === "running");
      if (name === "truth") void this.askTruth();
      this.keep();
    }).element;
  }

  /** The density of a named distribution over the ranges of the picture, where it is wanted; other data have none. */
  private async askTruth(): Promise<void> {
    this.view.setTruth(null);
    const on = this.data.trainOn();
    if (!this.shown.truth || typeof on === "string" || !("data" in on)) return;
    const [[left, right], [bottom, top]] = [this.view.plot.x.domain(), this.view.plot.y.domain()];
    const bounds = [Math.min(left, bottom), Math.max(right, top)];
    try {
      const { density } = await this.lab.transport.call<{ density: number[][] }>("data.density", { name: on.data, bounds, size: TRUTH });
      if (this.gone || this.data.name() !== on.data) return;
      this.view.setTruth({ values: Float64Array.from(density.flat()), size: TRUTH, bounds: bounds as Point });
    } catch (error) {
      if (!this.gone) this.lab.say(error);
    }
  }

  private choices(): TrainChoices {
    return {
      family: this.family.value(), depth: this.depth.value(), univariate: this.univariate.value(),
      hidden: Number(this.hidden.value()), learning_rate: Number(this.rate.value()), seed: 0,
      steps_per_second: Number(this.speed.value()),
    };
  }

  /** Something about the flow was chosen. */
  private settings(): void {
    this.describe();
    this.restartSoon();
  }

  private describe(): void {
    const planar = this.family.value() === "planar";
    for (const control of [this.univariate, this.hidden])
      (control.element.querySelector("select") as HTMLSelectElement).disabled = planar;
    this.sight.textContent = whatToSee(this.family.value(), this.univariate.value(), this.data.name());
  }

  /** A training of other data or choices ends; if it ran, another one begins a moment later. */
  private restartSoon(): void {
    if (this.gone || !this.run) return;
    this.describe();
    this.keep();
    const running = this.run.status === "running" || this.run.status === "starting" || this.restart !== 0;
    window.clearTimeout(this.restart);
    this.restart = 0;
    this.run.forget();
    this.clear();
    if (running) this.restart = window.setTimeout(() => this.start(false), 350);
  }

  private clear(): void {
    [this.latest, this.heldOut, this.entropy, this.drawn] = [null, null, null, []];
    this.curve.clear();
    this.frame.request();
  }

  private press(): void {
    if (this.run.status === "running") void this.run.pause();
    else if (this.run.status === "paused") void this.run.resume();
    else if (this.run.status === "none") this.start(false);
  }

  private pressStep(): void {
    if (this.run.status === "none") this.start(true);
    else if (this.run.status !== "starting") void this.run.step();
  }

  private pressReset(): void {
    if (this.run.status === "none" || this.run.status === "starting") return;
    this.curve.restart();
    [this.heldOut, this.drawn] = [null, []];
    void this.run.reset();
  }

  private start(paused: boolean): void {
    window.clearTimeout(this.restart);
    this.restart = 0;
    const on = this.data.trainOn();
    if (typeof on === "string") {
      this.lab.say(on);
      return;
    }
    this.lab.say("");
    this.clear();
    void this.run.start(on, this.choices(), paused);
  }

  private started({ entropy, baselines }: Started): void {
    this.entropy = entropy;
    const levels: Level[] = [];
    if (entropy !== null) levels.push({ name: "true entropy", value: entropy, colour: "green", dash: [] });
    if (baselines.kde !== null) levels.push({ name: "kernel density", value: baselines.kde, colour: "purple", dash: [6, 4] });
    if (baselines.mixture !== null) levels.push({ name: "Gaussian mixture", value: baselines.mixture, colour: "sky", dash: [2, 3] });
    this.curve.compareWith(levels);
    this.frame.request();
  }

  private hear(event: TrainEvent): void {
    this.latest = event;
    if (event.held_out !== null) this.heldOut = event.held_out;
    this.curve.add(event.step, event.loss, event.held_out);
    if (!document.hidden) this.frame.request();
  }

  private draw(): void {
    const { latest } = this;
    this.curve.redraw();
    this.view.show(latest && latest.flow, this.run.status === "running");
    if (latest) {
      const now = performance.now();
      this.drawn = [...this.drawn.filter((time) => now - time < 1000), now];
    }
    this.showNumbers();
  }

  /** Leaves the flow, and the lines of Python up to it, to the panel Push-forward. */
  private remember(): void {
    if (this.latest) keepTrained({ flow: this.latest.flow, python: this.lines().split("\n\nfigure")[0] });
  }

  private showNumbers(): void {
    const { latest, heldOut, entropy, numbers } = this;
    const put = (name: string, value: number | null | undefined, digits: number) =>
      numbers.set(name, value ?? null, shown(value, digits));
    put("step", latest?.step, 0);
    put("seconds", latest?.seconds, 1);
    put("steps_per_second", latest?.steps_per_second, 0);
    put("loss", latest?.loss, 3);
    put("held_out", heldOut, 3);
    put("kl", heldOut !== null && entropy !== null ? heldOut - entropy : null, 3);
    put("updates", this.run.status === "running" ? this.drawn.length : 0, 0);
  }

  private become(status: Status): void {
    this.go.textContent = status === "running" ? "Pause" : status === "paused" ? "Go on" : "Train";
    this.go.disabled = status === "starting";
    this.stepButton.disabled = status === "starting" || status === "running";
    this.resetButton.disabled = status === "none" || status === "starting";
    const said = { none: "Not started", starting: "Starting…", running: "Training", paused: "Paused" };
    this.state.textContent = said[status];
    this.state.dataset.value = status;
    if (status !== "paused") return;
    this.remember();
    this.frame.request();
  }

  private keep(): void {
    const { data, density, samples, grid, truth } = this.shown;
    const off = `${data ? "" : "d"}${density ? "" : "q"}${samples ? "" : "s"}${grid ? "g" : ""}${truth ? "t" : ""}`;
    this.lab.keep({
      ...this.data.keep(), f: this.family.value(), k: this.depth.value(), u: this.univariate.value(),
      h: this.hidden.value(), r: this.rate.value(), v: off || null, w: this.speed.value() === "0" ? null : this.speed.value(),
    });
  }

  private lines(): string {
    const { points, file } = this.data;
    return trainLines({ name: this.data.name(), points, file, columns: this.data.chosenColumns() }, this.choices());
  }
}

/** Of the options of a select, those that Python names; all of them if it names none of them. */
function offerKnown(control: Control<string>, all: readonly (readonly [string, string])[], names: unknown): void {
  if (!Array.isArray(names)) return;
  const said = names.map((each) => (typeof each === "string" ? each : String((each as { name?: unknown }).name)));
  const known = all.filter(([name]) => said.includes(name));
  if (known.length) refill(control, known);
}

export const trainPanel: Panel = {
  id: "train",
  title: "Train live",
  lead: "A flow learns by maximum likelihood: weights change so that the data become more probable. Its density, samples and grid are drawn from the weights of the moment.",
  mount: (root, lab) => new Train(root, lab),
};
