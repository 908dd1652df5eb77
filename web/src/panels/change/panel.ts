// Change of variables in one dimension: drag an increasing map and see where the probability goes.

import { formula } from "../../page/formula";
import type { Lab, Mounted, Panel, State } from "../../panel";
import { Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { checkbox, h, onceAFrame, python, select, shown, slider } from "../../page/ui";
import { changeNumbers, knotsFrom, knotsText, placed, rangeOfX, type ChangeNumbers } from "./numbers";
import { colourOf, drawChange } from "./picture";
import { baseOf, movedTo, presetMap, PRESETS, pythonOf, type PresetName } from "./presets";
import { choices } from "../../page/choices";
import { DENSITIES, type Density, type DensityName } from "../../maths/densities";
import { facts, put } from "../../page/facts";
import type { Frame } from "../../drawing/frame";
import { Knob } from "../../page/knob";
import { between, MonotoneMap } from "../../maths/monotone";

const BASES: readonly (readonly [DensityName, string])[] = (["normal", "uniform", "logistic", "mixture"] as const).map(
  (name) => [name, DENSITIES[name].title],
);

const NOTES: Record<PresetName | "own", string> = {
  identity: "Nothing moves, so q = p, and the slope that q* forgets is one: here q* is right by chance.",
  scale: "Twice as wide, half as high. Without the slope nothing gets lower, and the area doubles: C = 2.",
  shift: "A shift moves the density and leaves its shape: all slopes are one, so q* happens to be right.",
  s: "Steep in the middle and flat outside: the middle thins, the sides pile up. One bump can become two.",
  uniform: "A straight line keeps the uniform uniform: [0, 1] becomes [1, 3], twice as wide, so its density is one half.",
  normal: "T is the quantile function of the normal (through nine of its points): it turns uniform numbers into normal ones.",
  own: "This map is yours: it increases however you drag, so each x comes from one z, and the areas agree.",
};

export const changePanel: Panel = {
  id: "change",
  title: "Change of variables",
  lead: "Pull on an increasing map x = T(z): probability travels with it, and the areas stay equal.",
  mount: (root, lab) => new Change(root, lab),
};

class Change implements Mounted {
  private base: DensityName;
  private preset: PresetName | null;
  private count: number;
  private naive: boolean;
  private map: MonotoneMap;
  private numbers!: ChangeNumbers;
  private xRange!: Point;
  private frame: Frame | null = null;
  private knobs: Knob[] = [];
  private tween = 0;
  private stage = h("div", { class: "stage" });
  private plot: Plot;
  private rows = h("tbody", {});
  private cells: HTMLElement[][] = [];
  private note = h("p", { class: "note" });
  private facts = facts([
    ["integral", formula("\\int q(x)\\,dx")],
    ["naive", formula("C = \\int q^*(x)\\,dx"), "wrong"],
    ["difference", "largest difference of two areas"],
  ]);
  private baseControl;
  private presetControl;
  private drawing = onceAFrame(() => this.draw());
  private offTheme: () => void;

  constructor(
    root: HTMLElement,
    private lab: Lab,
  ) {
    const { state } = lab;
    this.base = BASES.some(([name]) => name === state.p) ? (state.p as DensityName) : "normal";
    const own = typeof state.k === "string" ? knotsFrom(state.k, DENSITIES[this.base].view) : null;
    const named = PRESETS.find(([name]) => name === state.m)?.[0] ?? "s";
    this.preset = own ? null : named;
    if (this.preset) this.base = baseOf(this.preset, this.base);
    this.map = own ? new MonotoneMap(own) : presetMap(named, DENSITIES[this.base]);
    this.count = Math.min(8, Math.max(3, Math.round(Number(state.n) || 5)));
    this.naive = state.w !== false;
    this.baseControl = select("p(z), the density of z", BASES, this.base, (name) => this.choose(name));
    this.presetControl = choices("Maps", PRESETS, this.preset, (name) => this.begin(name));
    this.plot = new Plot(
      {
        label: "A map x = T(z), the density p(z) below it and q(x) beside it, with rectangles of equal area",
        x: [0, 1], y: [0, 1], aspect: 0.86, axes: false,
      },
      () => this.paint(),
    );
    this.stage.append(this.plot.element);
    root.append(
      h("p", { class: "formula", tabindex: "0", role: "group", "aria-label": "Formula" }, formula("p(z)\\,dz = q(x)\\,dx, \\qquad q(x) = \\frac{p(z)}{T'(z)} \\quad\\text{at } z = T^{-1}(x)")),
      this.presetControl.element,
      h(
        "div", { class: "controls" },
        this.baseControl.element,
        slider("intervals", { min: 3, max: 8, step: 1, value: this.count }, (value) => this.split(value)).element,
        checkbox("show q*(x) = p(T⁻¹(x)), which forgets the slope", this.naive, (value) => this.show(value)).element,
      ),
      h("div", { class: "row" }, this.stage, this.texts()),
      python(() => pythonOf(this.base, this.map, this.count)),
    );
    this.offTheme = lab.onTheme(() => this.plot.redraw());
    this.fit();
    this.changed();
  }

  destroy(): void {
    this.drawing.cancel();
    cancelAnimationFrame(this.tween);
    this.offTheme();
    this.plot.destroy();
  }

  private texts(): HTMLElement {
    const head = h(
      "tr", {}, h("th", { scope: "col" }, "interval of z"), h("th", { scope: "col" }, "∫ p dz"),
      h("th", { scope: "col" }, "its image in x"), h("th", { scope: "col" }, "∫ q dx"),
    );
    return h(
      "div", {},
      this.facts.element,
      h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Areas" },
        h("table", { class: "data areas" }, h("caption", { class: "hidden" }, "Areas of the rectangles"), h("thead", {}, head), this.rows)),
      h(
        "p", { class: "note" },
        "Drag a knot of the map, or focus one and press the arrow keys (with Shift: larger steps). Each interval of z goes " +
          "to the interval of x of the same colour and takes its probability along: both rectangles have the same area. " +
          "Where the map is steep, the interval gets wider and the rectangle lower.",
      ),
      h(
        "p", { class: "note" },
        "q* has the height p(z) at the place T(z), but nobody divided by the slope. Its integral C is the average " +
          "slope of the map, so q* is a density only if that average is 1.",
      ),
      this.note,
    );
  }

  private density(): Density {
    return DENSITIES[this.base];
  }

  private begin(preset: PresetName): void {
    const [from, before] = [this.map, this.base];
    this.base = baseOf(preset, this.base);
    this.baseControl.set(this.base);
    this.preset = preset;
    const to = presetMap(preset, this.density());
    this.keep();
    cancelAnimationFrame(this.tween);
    if (this.lab.still() || this.base !== before || from.knots.length !== to.knots.length) return this.land(to);
    const start = performance.now();
    this.xRange = hull(this.xRange, rangeOfX(to.knots));
    const step = (now: number) => {
      const share = Math.min(1, Math.max(0, (now - start) / 350));
      if (share === 1) return this.land(to);
      this.map = between(from, to, share * share * (3 - 2 * share));
      this.changed();
      this.tween = requestAnimationFrame(step);
      return undefined;
    };
    this.tween = requestAnimationFrame(step);
  }

  private land(map: MonotoneMap): void {
    this.map = map;
    this.fit();
    this.changed();
  }

  private choose(base: DensityName): void {
    cancelAnimationFrame(this.tween);
    this.base = base;
    const kept = this.preset !== null && baseOf(this.preset, base) === base;
    if (!kept) this.own();
    this.land(kept ? presetMap(this.preset as PresetName, this.density()) : movedTo(this.density(), this.map));
    this.keep();
  }

  private split(count: number): void {
    this.count = count;
    this.changed();
    this.keep();
  }

  private show(naive: boolean): void {
    this.naive = naive;
    this.changed();
    this.keep();
  }

  private move(k: number, to: Point): void {
    cancelAnimationFrame(this.tween);
    this.map = new MonotoneMap(placed(this.map.knots, k, to, this.density().view, this.xRange));
    this.own();
    this.changed();
  }

  private own(): void {
    this.preset = null;
    this.presetControl.set(null);
  }

  /** The range of x follows the knots when none is held. */
  private fit(): void {
    this.xRange = rangeOfX(this.map.knots);
  }

  private keep(): void {
    const state: State = { p: this.base, m: this.preset, k: this.preset ? null : knotsText(this.map.knots) };
    this.lab.keep({ ...state, n: this.count, w: this.naive ? null : false });
  }

  /** Computes the numbers at once, and draws with the next frame. */
  private changed(): void {
    this.numbers = changeNumbers(this.density(), this.map, this.count);
    const { edges, images, masses, imageMasses, integral, naive } = this.numbers;
    this.facts.set("integral", integral);
    this.facts.set("naive", naive, this.naive ? shown(naive, 4) : "–");
    const difference = Math.max(...masses.map((mass, k) => Math.abs(mass - imageMasses[k])));
    this.facts.set("difference", difference, difference < 1e-9 ? "below 10⁻⁹" : shown(difference, 6));
    this.table();
    masses.forEach((mass, k) => {
      const [z, p, x, q] = this.cells[k];
      z.textContent = `${shown(edges[k], 2)} … ${shown(edges[k + 1], 2)}`;
      x.textContent = `${shown(images[k], 2)} … ${shown(images[k + 1], 2)}`;
      put(p, mass);
      put(q, imageMasses[k]);
    });
    this.note.textContent = NOTES[this.preset ?? "own"];
    this.knobsFor();
    this.drawing.request();
  }

  /** As many rows as intervals. */
  private table(): void {
    if (this.cells.length === this.count) return;
    this.cells = Array.from({ length: this.count }, () => [
      h("span", {}), h("td", { "data-area": "p" }), h("td", {}), h("td", { "data-area": "q" }),
    ]);
    this.rows.replaceChildren(
      ...this.cells.map((cells, k) => {
        const swatch = h("span", { class: "swatch", "aria-hidden": "true" });
        swatch.style.background = colourOf(k, this.count);
        return h("tr", {}, h("td", {}, swatch, cells[0]), ...cells.slice(1));
      }),
    );
  }

  private knobsFor(): void {
    if (this.knobs.length === this.map.knots.length) return;
    this.knobs.forEach((knob) => knob.element.remove());
    this.knobs = this.map.knots.map(
      (_, k) =>
        new Knob(this.stage, {
          label: `Knot ${k + 1} of ${this.map.knots.length} of the map`,
          colour: "accent",
          dragged: (left, top) => {
            if (!this.frame) return;
            this.frame.enter();
            this.move(k, [this.plot.x.invert(left), this.plot.y.invert(top)]);
          },
          stepped: (right, up) => {
            const [z, x] = this.map.knots[k];
            const small = this.density().jumps.length > 0;
            this.move(k, [z + right * (small ? 0.01 : 0.05), x + up * (small ? 0.02 : 0.05)]);
          },
          settled: () => {
            this.fit();
            this.changed();
            this.keep();
          },
        }),
    );
  }

  private draw(): void {
    this.plot.redraw();
  }

  private paint(): void {
    const { map, numbers, xRange, naive } = this;
    this.frame = drawChange(this.plot, { base: this.density(), map, numbers, xRange, naive });
    const gap = 0.005 * (xRange[1] - xRange[0]);
    this.knobs.forEach((knob, k) => {
      const { knots } = map;
      const [z, x] = knots[k];
      knob.place(this.plot.x(z), this.plot.y(x), {
        now: x,
        min: k > 0 ? knots[k - 1][1] + gap : xRange[0],
        max: k < knots.length - 1 ? knots[k + 1][1] - gap : xRange[1],
        text: `z = ${shown(z, 2)}, x = ${shown(x, 2)}`,
      });
    });
  }
}

function hull(a: Point, b: Point): Point {
  return [Math.min(a[0], b[0]), Math.max(a[1], b[1])];
}
