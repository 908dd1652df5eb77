// Push-forward: points, a grid and a density of z, and where the layers of a flow take them.

import { Flow2D, logNormal } from "../../maths/flow";
import { formula } from "../../page/formula";
import { LadjBars, pair } from "./ladj_bars";
import { layerPlayer } from "./layer_player";
import { Mesh, type Cell } from "../../maths/mesh";
import { PushForwardView, REACH, type Colouring, type Scene } from "./view";
import type { Lab, Mounted, Panel } from "../../panel";
import { clamp } from "../../drawing/plot";
import type { FlowJson, Point } from "../../protocol";
import { onTrained, trained } from "../../shared";
import { button, checkbox, h, onceAFrame, python, refill, select, shown } from "../../page/ui";
import { numberOf, wordOf } from "../../page/url_values";
import { facts, significant } from "../../page/facts";

interface Preset {
  name: string;
  title: string;
  flow: FlowJson;
  python: string;
}

const SQUASH: Preset = {
  name: "squash",
  title: "Squash: z / (1 + ‖z‖)",
  flow: { parts: [{ type: "squash", name: "Squash", inverse: false }] },
  python: `import torch
import pushforward as pf
from pushforward.bijections import RadialSquash
from pushforward.distributions import Flow, StandardNormal

flow = Flow(StandardNormal(2), RadialSquash(2))`,
};
const TRAINED = "trained";
const COLOURINGS = [["ladj", "log |det|"], ["density", "Density"], ["plain", "Nothing"]] as const;

class PushForward implements Mounted {
  private presets: Preset[] = [SQUASH];
  private preset = SQUASH;
  private flow = new Flow2D(SQUASH.flow);
  private mesh = new Mesh(this.flow, 20, REACH);
  private z: Point;
  private hovered: Cell | null = null;
  private wanted: string;
  private readonly view: PushForwardView;
  private readonly bars = new LadjBars();
  private readonly frame = onceAFrame(() => this.draw());
  private readonly off: (() => void)[] = [];
  private gone = false;
  private readonly numbers = facts([
    ["z", "z"], ["x", "x = T(z)"], ["log_prob_z", "log p(z)"], ["ladj", "log |det ∇T(z)|"],
    ["log_prob", "log q(x)"], ["density", "q(x)"],
  ]);
  private readonly cellNumbers = facts([
    ["cell_z", "area × p(z) before"], ["cell_x", "area × q(x) after"],
    ["area_z", "area before"], ["area_x", "area after"],
    ["cell_p", "p(z)"], ["cell_q", "q(x)"],
  ]);
  private readonly comparing = button("Compare with Python", () => void this.compare());
  private readonly compared = h("span", { class: "note", role: "status", "data-fact": "compared" });
  private readonly sum = h("span", { class: "number", "data-fact": "sum" });
  private readonly presetSelect;
  private readonly colouring;
  private readonly same;
  private readonly player;

  constructor(root: HTMLElement, private readonly lab: Lab) {
    const { state } = lab;
    this.z = [numberOf(state.z1, 0.6, -REACH, REACH), numberOf(state.z2, -0.8, -REACH, REACH)];
    this.wanted = typeof state.p === "string" ? state.p : SQUASH.name;
    this.presetSelect = select<string>("Map", [[SQUASH.name, SQUASH.title]], SQUASH.name, (name) => this.choose(name));
    const colour = wordOf(state.c, COLOURINGS.map(([name]) => name), "ladj");
    this.colouring = select<Colouring>("Cells show", COLOURINGS, colour, () => this.changed());
    this.same = checkbox("Same scale on both sides", state.s === true, () => this.changed());
    this.player = layerPlayer(lab.still, () => this.frame.request(), () => this.keep());
    this.player.setup(this.names(), numberOf(state.l, 1, 0, 99));

    this.view = new PushForwardView(this.scene(), {
      move: (z) => this.move(z),
      hover: (cell) => this.hover(cell),
    });
    root.append(
      h("div", { class: "controls" }, this.presetSelect.element, this.colouring.element, this.same.element),
      this.player.element,
      this.view.element,
      h("p", { class: "note" },
        "Drag the point on either side, or move it with the arrow keys. Hover over a cell to see it on both sides."),
      h("div", { class: "formula", tabindex: "0", role: "group", "aria-label": "Formula" }, formula("\\log q(x) = \\log p(z) - \\log\\,\\lvert\\det \\nabla T(z)\\rvert"), " = ", this.sum),
      this.numbers.element,
      h("div", { class: "controls" }, this.comparing, this.compared),
      h("div", { class: "row" },
        h("div", {}, h("h3", {}, "log |det| layer by layer at the point"), this.bars.plot.element,
          h("p", { class: "note" }, "Blue layers shrink areas around the point, orange ones stretch them; each bar begins where the last one ended, and the dashed line is the sum.")),
        h("div", {}, h("h3", {}, "The outlined cell"), this.cellNumbers.element,
          h("p", { class: "note" }, "The area changes and the density changes, but area × density stays the same: probability travels with the map. (Densities are those in the middle of the cell, so the two agree up to the size of a cell.)")),
      ),
      python(() => this.lines()),
    );
    this.off.push(lab.onTheme(() => this.frame.request()));
    this.off.push(onTrained(() => this.offer()));
    this.offer();
    void this.ask();
    this.frame.request();
  }

  destroy(): void {
    this.gone = true;
    this.frame.cancel();
    this.player.stop();
    for (const off of this.off) off();
    this.view.destroy();
    this.bars.plot.destroy();
  }

  private async ask(): Promise<void> {
    try {
      const { presets } = await this.lab.transport.call<{ presets: Preset[] }>("maps.presets");
      if (this.gone) return;
      const others = presets.filter((preset) => preset.name !== TRAINED);
      this.presets = others.some((preset) => preset.name === SQUASH.name) ? others : [SQUASH, ...others];
      this.offer();
    } catch (error) {
      if (!this.gone) this.lab.say(error);
    }
  }

  /** Fills the list of maps; the one that the URL names is taken once it is there. */
  private offer(): void {
    const own = trained();
    this.presets = this.presets.filter((preset) => preset.name !== TRAINED);
    if (own) this.presets.push({ name: TRAINED, title: "Your flow of “Train live”", ...own });
    refill(this.presetSelect, this.presets.map(({ name, title }) => [name, title] as const));
    const there = this.presets.find((preset) => preset.name === this.wanted);
    if (there && (there.name !== this.preset.name || there.name === TRAINED)) this.take(there, this.lab.state.l);
    this.presetSelect.set(this.preset.name);
  }

  private choose(name: string): void {
    this.wanted = name;
    const preset = this.presets.find((each) => each.name === name);
    if (preset) this.take(preset, null);
    this.keep();
  }

  private take(preset: Preset, layers: unknown): void {
    this.preset = preset;
    this.flow = new Flow2D(preset.flow);
    this.mesh = new Mesh(this.flow, 20, REACH);
    this.hovered = null;
    this.comparing.disabled = preset.name === TRAINED; // it may have gone on since
    this.forgetComparison();
    const depth = this.flow.maps.length;
    this.player.setup(this.names(), numberOf(layers, depth, 0, depth));
    this.frame.request();
  }

  private names(): string[] {
    return this.flow.maps.map((map) => map.name);
  }

  private hover(cell: Cell | null): void {
    if (String(cell) === String(this.hovered)) return;
    this.hovered = cell;
    this.frame.request();
  }

  private forgetComparison(): void {
    this.compared.textContent = "";
    this.compared.dataset.value = "";
  }

  private move(z: Point): void {
    this.forgetComparison();
    this.z = [clamp(z[0], -REACH, REACH), clamp(z[1], -REACH, REACH)];
    this.changed();
  }

  private changed(): void {
    this.frame.request();
    this.keep();
  }

  private keep(): void {
    const layers = this.player.layers();
    this.lab.keep({
      p: this.wanted, l: layers >= this.flow.maps.length ? null : layers, c: this.colouring.value(),
      s: this.same.value() || null, z1: Math.round(1e3 * this.z[0]) / 1e3, z2: Math.round(1e3 * this.z[1]) / 1e3,
    });
  }

  private scene(): Scene {
    const { flow, mesh, z, hovered } = this;
    const [layers, colouring, sameScale] = [this.player.layers(), this.colouring.value(), this.same.value()];
    return { flow, mesh, layers, z, hovered, colouring, sameScale };
  }

  private draw(): void {
    const layers = this.player.layers();
    const { x, ladj } = this.flow.forward(this.z, layers);
    const logP = logNormal(this.z);
    const logQ = logP - ladj;
    this.view.show(this.scene());
    this.bars.show(this.flow.steps(this.z).map((step) => step.ladj), layers, ladj);
    this.numbers.set("z", `${this.z[0]},${this.z[1]}`, pair(this.z));
    this.numbers.set("x", `${x[0]},${x[1]}`, pair(x));
    this.numbers.set("log_prob_z", logP, shown(logP));
    this.numbers.set("ladj", ladj, shown(ladj));
    this.numbers.set("log_prob", logQ, shown(logQ));
    this.numbers.set("density", Math.exp(logQ), significant(Math.exp(logQ)));
    this.sum.textContent = `${shown(logP)} − ${ladj < 0 ? `(${shown(ladj)})` : shown(ladj)} = ${shown(logQ)}`;
    this.sum.dataset.value = String(logQ);
    this.showCell();
  }

  /** The same numbers by the library in Python, in its precision, and how far those of the page are from them. */
  private async compare(): Promise<void> {
    const [flow, z, { x, ladj }] = [this.preset.name, this.z, this.flow.forward(this.z)];
    try {
      const exact = await this.lab.transport.call<{ x: Point; ladj: number; log_prob: number }>("maps.point", { flow, z });
      if (this.gone || flow !== this.preset.name || z !== this.z) return;
      const logQ = logNormal(z) - ladj;
      const apart = Math.max(Math.abs(x[0] - exact.x[0]), Math.abs(x[1] - exact.x[1]), Math.abs(logQ - exact.log_prob));
      this.compared.textContent =
        `All layers: x = ${pair(exact.x)}, log |det| = ${shown(exact.ladj)}, log q = ${shown(exact.log_prob)}; this page differs by ${significant(apart, 2)} at most.`;
      this.compared.dataset.value = String(apart);
    } catch (error) {
      if (!this.gone) this.lab.say(error);
    }
  }

  private showCell(): void {
    const cell = this.view.marked();
    const at = cell && this.mesh.numbers(this.mesh.after(this.player.layers()), cell);
    const put = (name: string, value: number | null) =>
      this.cellNumbers.set(name, value, value === null ? "–" : significant(value));
    put("area_z", at && at.latentArea);
    put("cell_p", at && at.latentDensity);
    put("cell_z", at && at.latentArea * at.latentDensity);
    put("area_x", at && at.area);
    put("cell_q", at && at.density);
    put("cell_x", at && at.area * at.density);
  }

  private lines(): string {
    const z = this.z.map((value) => value.toFixed(4)).join(", ");
    const built = this.preset.python.trim();
    return `${/^import torch$/m.test(built) ? "" : "import torch\n"}${built}

z = torch.tensor([${z}])
x, ladj = flow.bijection.forward_and_ladj(z)
log_q = flow.base.log_prob(z) - ladj  # which is flow.log_prob(x)
print(x.tolist(), ladj.item(), log_q.item())
for step in flow.steps(z):
    print(step)

figure = pf.plots.plot_push_forward(flow)
figure.savefig("push_forward.png")
`;
  }
}

export const pushforwardPanel: Panel = {
  id: "push-forward",
  title: "Push-forward",
  lead: "A map T takes points z of a simple density p to data x = T(z). Where it stretches areas the density thins; where it shrinks them the density grows.",
  mount: (root, lab) => new PushForward(root, lab),
};
