// Triangular maps: x₁ = T₁(z₁), x₂ = T₂(z₁, z₂), and so on, with their Jacobian, inverse, slices and chain rule.

import { formula } from "../../page/formula";
import type { Lab, Mounted, Panel } from "../../panel";
import type { Point } from "../../protocol";
import { type Control, h, python, select, slider } from "../../page/ui";
import { DENSITIES, type DensityName } from "../../maths/densities";
import { facts, significant } from "../../page/facts";
import { below, MatrixTable, scrolling } from "./matrix";
import { InverseView } from "./inverse";
import { TriangularMap, type TriangularParams } from "./map";
import { chainNumbers } from "./numbers";
import { triangularPython } from "./python";
import { SlicesView } from "./slices";

const BASES: readonly (readonly [DensityName, string])[] = (["normal", "bumps", "skewed"] as const).map((name) => [
  name, DENSITIES[name].title,
]);
const START = [0.8, -0.6, 0.5, 1.0, -0.3];
const LIMIT = 3;

/** Name in the URL, words, range and start of each parameter. */
const SLIDERS: readonly [keyof TriangularParams, string, string, number, number, number][] = [
  ["scale", "a", "scale a", -1, 1, -0.3],
  ["coupling", "c", "coupling c", -2, 2, 0.6],
  ["bend", "b", "bend b", -1, 1, 0.5],
  ["spread", "k", "spread k", -1, 1, 0.4],
  ["skew", "r", "skew r", -0.9, 0.9, 0],
];

export const triangularPanel: Panel = {
  id: "triangular",
  title: "Triangular maps",
  lead: "x₁ = T₁(z₁), x₂ = T₂(z₁, z₂), … : each number looks only back, and everything becomes cheap.",
  mount: (root, lab) => new Triangular(root, lab),
};

class Triangular implements Mounted {
  private size: number;
  private base: DensityName;
  private params = {} as TriangularParams;
  private z: number[];
  private places = h("div", { class: "controls" });
  private latents: Control<number>[] = [];
  private matrixPlace = scrolling("Jacobian");
  private matrix!: MatrixTable;
  private imagePlace = h("div", {});
  private images!: ReturnType<typeof facts>;
  private chainPlace = h("div", {});
  private chain!: ReturnType<typeof facts>;
  private determinants = facts([
    ["diagonal", "sum of the logs of the diagonal"],
    ["elimination", "log|det| by elimination"],
    ["cost", "multiplications: elimination against diagonal"],
  ]);
  private inverse: InverseView;
  private slices: SlicesView;
  private offTheme: () => void;

  constructor(
    root: HTMLElement,
    private lab: Lab,
  ) {
    const { state } = lab;
    this.size = Math.min(5, Math.max(2, Math.round(Number(state.d) || 3)));
    this.base = BASES.some(([name]) => name === state.p) ? (state.p as DensityName) : "normal";
    this.z = START.map((start, k) => latent(Number(String(state.z ?? "").split(",")[k] || NaN), start));
    const turned = SLIDERS.map(([name, key, label, min, max, start]) => {
      const given = state[key];
      this.params[name] = typeof given === "number" ? Math.min(max, Math.max(min, given)) : start;
      return slider(label, { min, max, step: 0.05, value: this.params[name] }, (value) => {
        this.params[name] = value;
        this.changed();
        this.keep();
      }).element;
    });
    this.inverse = new InverseView(lab);
    this.slices = new SlicesView({
      moved: (z) => this.move(z),
      settled: () => this.keep(),
    });
    root.append(
      h("p", { class: "formula", tabindex: "0", role: "group", "aria-label": "Formula" }, formula("x_j = \\mu_j + \\sigma_j\\, h(z_j), \\qquad h(z) = z + r\\,(\\sqrt{1 + z^2} - 1)")),
      h("p", { class: "formula", tabindex: "0", role: "group", "aria-label": "Formula" }, formula("\\mu_j = \\sum_{i<j} \\frac{c\\, z_i + b\\,(z_i^2 - 1)}{j - i}, \\qquad \\sigma_j = \\exp\\Bigl(a + k \\tanh \\sum_{i<j} \\frac{z_i}{j - i}\\Bigr)")),
      h("p", { class: "note" }, "xⱼ depends on z₁ … zⱼ alone, and increases in zⱼ because σⱼ and h′ are positive."),
      h(
        "div", { class: "controls" },
        slider("dimension D", { min: 2, max: 5, step: 1, value: this.size }, (value) => this.resize(value)).element,
        select("density p of each zⱼ", BASES, this.base, (name) => {
          this.base = name;
          this.changed();
          this.keep();
        }).element,
        ...turned,
      ),
      h(
        "div", { class: "row" },
        h("section", { "aria-label": "The point z" }, h("h3", {}, "The point z, and x = T(z)"), this.places, this.imagePlace),
        h(
          "section", { "aria-label": "Jacobian" },
          h("h3", {}, "The Jacobian there"), this.matrixPlace, this.determinants.element,
          h(
            "p", { class: "note" },
            "Above the diagonal all is zero: no x looks at a later z. So the determinant is the product of the " +
              "diagonal, whatever stands below it.",
          ),
        ),
      ),
      this.slices.element,
      h(
        "section", { "aria-label": "Chain rule" },
        h("h3", {}, "The chain rule"),
        h("p", { class: "formula", tabindex: "0", role: "group", "aria-label": "Formula" }, formula("q(x) = \\prod_j q(x_j \\mid x_{<j}), \\qquad q(x_j \\mid x_{<j}) = \\frac{p(z_j)}{\\partial x_j / \\partial z_j}")),
        this.chainPlace,
      ),
      this.inverse.element,
      python(() => triangularPython(this.size, this.params, this.base, this.map().forward(this.latent()))),
    );
    this.build();
    this.changed();
    this.offTheme = lab.onTheme(() => this.slices.redraw());
  }

  destroy(): void {
    this.offTheme();
    this.slices.destroy();
    this.inverse.destroy();
  }

  private map(): TriangularMap {
    return new TriangularMap(this.size, this.params);
  }

  private latent(): number[] {
    return this.z.slice(0, this.size);
  }

  private resize(size: number): void {
    this.size = size;
    this.build();
    this.changed();
    this.keep();
  }

  /** What depends on the dimension. */
  private build(): void {
    const indices = Array.from({ length: this.size }, (_, k) => k);
    this.latents = indices.map((k) =>
      slider(below("z", k + 1), { min: -LIMIT, max: LIMIT, step: 0.01, value: this.z[k] }, (value) => {
        this.z[k] = value;
        this.changed();
        this.keep();
      }),
    );
    this.places.replaceChildren(...this.latents.map((control) => control.element));
    this.images = facts(indices.map((k) => [`x${k + 1}`, below("x", k + 1)] as const));
    this.imagePlace.replaceChildren(this.images.element);
    this.matrix = new MatrixTable("∂xⱼ / ∂zᵢ: a row for each x, a column for each z", this.size, "x", "z");
    this.matrixPlace.replaceChildren(this.matrix.element);
    const given = (k: number) => (k === 0 ? "" : ` | ${indices.slice(0, k).map((i) => below("x", i + 1)).join(", ")}`);
    this.chain = facts([
      ...indices.map((k) => [`q${k + 1}`, `q(${below("x", k + 1)}${given(k)})`] as const),
      ["product", "their product"],
      ["joint", "q(x) = p(z) / |det|, by elimination"],
    ]);
    this.chainPlace.replaceChildren(this.chain.element);
  }

  private move([z1, z2]: Point): void {
    [z1, z2].forEach((value, k) => {
      this.z[k] = latent(value, this.z[k]);
      this.latents[k].set(this.z[k]);
    });
    this.changed();
  }

  private changed(): void {
    const [map, base, z] = [this.map(), DENSITIES[this.base], this.latent()];
    const numbers = chainNumbers(map, base, z);
    map.forward(z).forEach((x, k) => this.images.set(`x${k + 1}`, x));
    this.matrix.show(numbers.jacobian);
    this.determinants.set("diagonal", numbers.logDiagonal);
    this.determinants.set("elimination", numbers.logElimination);
    const cubes = multiplications(this.size);
    this.determinants.set("cost", cubes, `${cubes} : ${this.size - 1}`);
    numbers.factors.forEach((factor, k) => this.chain.set(`q${k + 1}`, factor, significant(factor)));
    this.chain.set("product", numbers.product, significant(numbers.product));
    this.chain.set("joint", numbers.joint, significant(numbers.joint));
    this.slices.show(map, base, z);
    this.inverse.show(map, z);
  }

  private keep(): void {
    const turned = SLIDERS.map(([name, key]) => [key, this.params[name]]);
    this.lab.keep({ d: this.size, p: this.base, ...Object.fromEntries(turned), z: this.z.join(",") });
  }
}

/** A number of the point in steps of 0.01 within the limits; a start value where there is none. */
function latent(value: number, start: number): number {
  return Number.isNaN(value) ? start : Math.round(100 * Math.min(LIMIT, Math.max(-LIMIT, value))) / 100;
}

/** Of elimination, with those of the diagonal after it. */
function multiplications(size: number): number {
  let count = size - 1;
  for (let k = 1; k < size; k++) count += k * k + k;
  return count;
}
