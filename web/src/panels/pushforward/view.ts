// The linked pictures of a push-forward: the straight grid over z, and its image over x.

import { cell as middleOf, logNormal, type Flow2D } from "../../maths/flow";
import { grip, type Grip } from "../../page/grip";
import { pair } from "./ladj_bars";
import type { Cell, Mesh, MeshImage } from "../../maths/mesh";
import { fillByDensity, fillByLadj, gridLines, ladjLegend, outlineCell } from "./mesh_drawing";
import { Plot } from "../../drawing/plot";
import type { Point } from "../../protocol";
import { h } from "../../page/ui";

export type Colouring = "ladj" | "density" | "plain";

export interface Scene {
  flow: Flow2D;
  mesh: Mesh;
  /** How many layers are applied. */
  layers: number;
  z: Point;
  hovered: Cell | null;
  colouring: Colouring;
  sameScale: boolean;
}

/** What the user does on the pictures. */
export interface Wishes {
  move(z: Point): void;
  hover(cell: Cell | null): void;
}

export const REACH = 3;
const EDGES: Point = [-3.2, 3.2];
const FIELD = 72;

export class PushForwardView {
  readonly element: HTMLElement;
  private readonly left: Plot;
  private readonly right: Plot;
  private readonly latentGrip: Grip;
  private readonly dataGrip: Grip;
  private readonly legend = ladjLegend();
  private field: { values: Float64Array; flow: Flow2D; key: string } | null = null;

  constructor(private scene: Scene, private readonly wishes: Wishes) {
    this.left = new Plot(
      { label: "The latent space: a straight grid and the point z", x: EDGES, y: EDGES, xTitle: "z₁", yTitle: "z₂", aspect: "equal" },
      () => this.drawLatents(),
    );
    this.right = new Plot(
      { label: "The data space: the image of the grid and the point x", x: EDGES, y: EDGES, xTitle: "x₁", yTitle: "x₂", aspect: "equal" },
      () => this.drawData(),
    );
    this.latentGrip = grip(this.left, "Point z", wishes.move);
    this.dataGrip = grip(this.right, "Point x", (x) => this.moveData(x));
    for (const plot of [this.left, this.right]) {
      plot.canvas.addEventListener("pointermove", (event) => {
        const at = plot.place(event);
        wishes.hover(plot === this.left ? this.scene.mesh.holding(at) : this.scene.mesh.under(this.image(), at));
      });
      plot.canvas.addEventListener("pointerleave", () => wishes.hover(null));
      plot.canvas.addEventListener("click", (event) => {
        if (plot === this.left) wishes.move(plot.place(event));
        else this.moveData(plot.place(event));
      });
    }
    this.element = h("div", {},
      h("div", { class: "row" },
        h("div", {}, h("div", { class: "caption" }, "Latent space: z ~ p = N(0, I)"), this.left.element),
        h("div", {}, h("div", { class: "caption" }, "Data space: x = T(z) ~ q"), this.right.element),
      ),
      this.legend.element,
    );
  }

  destroy(): void {
    this.left.destroy();
    this.right.destroy();
  }

  /** Draws both sides. */
  show(scene: Scene): void {
    this.scene = scene;
    const image = this.image();
    const [x, y] = scene.sameScale ? common(scene.mesh, image) : scene.mesh.square(image);
    this.right.ranges(x, y);
    this.left.redraw();
    this.right.redraw();
    this.legend.set(this.highest());
    this.legend.element.style.visibility = scene.colouring === "ladj" ? "visible" : "hidden";
    this.dataGrip.button.hidden = !this.complete();
  }

  /** The cell that is outlined: that below the pointer, else that of the point. */
  marked(): Cell | null {
    return this.scene.hovered ?? this.scene.mesh.holding(this.scene.z);
  }

  /** Moves x; z follows by the inverse of the whole map. */
  private moveData(x: Point): void {
    if (!this.complete()) return;
    const z = this.scene.flow.inverse(x).x;
    if (Number.isFinite(z[0] + z[1])) this.wishes.move(z);
  }

  private complete(): boolean {
    return this.scene.layers >= this.scene.mesh.depth;
  }

  private image(): MeshImage {
    return this.scene.mesh.after(this.scene.layers);
  }

  private drawLatents(): void {
    const { left, scene } = this;
    const { mesh, z } = scene;
    if (scene.colouring === "ladj") fillByLadj(left, mesh, mesh.straight, this.image(), this.highest());
    if (scene.colouring === "density") left.field(NORMAL, FIELD, EDGES, EDGES, "blue");
    gridLines(left, mesh, mesh.straight, "soft");
    const cell = this.marked();
    if (cell) outlineCell(left, mesh, mesh.straight, cell);
    left.handle(z, "blue");
    this.latentGrip.place(z, pair(z, 2));
  }

  private drawData(): void {
    const { right, scene } = this;
    const { mesh } = scene;
    const image = this.image();
    if (scene.colouring === "ladj") fillByLadj(right, mesh, image, image, this.highest());
    if (scene.colouring === "density" && this.complete()) {
      const [x, y] = [right.x.domain() as Point, right.y.domain() as Point];
      right.field(this.exactDensity(x, y), FIELD, x, y, "orange");
    } else if (scene.colouring === "density") fillByDensity(right, mesh, image, "orange");
    gridLines(right, mesh, image, "soft");
    const cell = this.marked();
    if (cell) outlineCell(right, mesh, image, cell);
    const { x } = scene.flow.forward(scene.z, scene.layers);
    right.handle(x, "orange");
    this.dataGrip.place(x, pair(x, 2));
  }

  /** log|det| at the ends of the colours: of what is drawn now, or of the whole map if that is larger. */
  private highest(): number {
    const { mesh } = this.scene;
    return Math.max(mesh.largestLadj(this.image()), mesh.largestLadj(mesh.after(mesh.depth)));
  }

  private exactDensity(x: Point, y: Point): Float64Array {
    const { flow } = this.scene;
    const key = String([x, y]);
    if (!this.field || this.field.flow !== flow || this.field.key !== key)
      this.field = { values: flow.density(x, y, FIELD), flow, key };
    return this.field.values;
  }
}

/** A square as large as that of z, in the middle of the image. */
function common(mesh: Mesh, image: MeshImage): [Point, Point] {
  const around = ([low, high]: Point): Point => [(low + high) / 2 + EDGES[0], (low + high) / 2 + EDGES[1]];
  const [x, y] = mesh.square(image);
  return [around(x), around(y)];
}

const NORMAL = Float64Array.from({ length: FIELD * FIELD }, (_, k) =>
  Math.exp(logNormal([middleOf(EDGES, k % FIELD, FIELD), middleOf(EDGES, Math.floor(k / FIELD), FIELD)])),
);
