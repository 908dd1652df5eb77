// The slider through the layers of a flow, and the button that moves it by itself.

import { shown, slider, button, h } from "../../page/ui";

const SECONDS_A_LAYER = 1.1;

export interface LayerPlayer {
  element: HTMLElement;
  layers(): number;
  /** For a flow of so many layers, at a place among them. */
  setup(names: readonly string[], layers: number): void;
  stop(): void;
}

/** `changed` gets every move, `settled` those after which nothing moves by itself. */
export function layerPlayer(still: () => boolean, changed: () => void, settled: () => void): LayerPlayer {
  let names: readonly string[] = [];
  let frame = 0;
  const control = slider("Layers applied", { min: 0, max: 1, step: 0.01, value: 1 }, () => {
    stop();
    moved();
    settled();
  });
  const input = control.element.querySelector("input") as HTMLInputElement;
  const play = button("Play", () => (frame ? stop() : start()));
  play.style.minWidth = "5.5em";
  const where = h("span", { class: "layer-name", "data-fact": "layer" });
  Object.assign(where.style, { flex: "1 1 18em", alignSelf: "center" });

  function moved(): void {
    where.textContent = described(control.value(), names);
    changed();
  }

  function start(): void {
    const last = names.length;
    if (still()) {
      control.set(last);
      moved();
      settled();
      return;
    }
    const from = control.value() >= last ? 0 : control.value();
    let began = 0;
    play.textContent = "Stop";
    const step = (time: number) => {
      began ||= time;
      const value = Math.min(last, from + (time - began) / 1000 / SECONDS_A_LAYER);
      control.set(Math.round(100 * value) / 100);
      moved();
      if (value < last) frame = requestAnimationFrame(step);
      else {
        stop();
        settled();
      }
    };
    frame = requestAnimationFrame(step);
  }

  function stop(): void {
    cancelAnimationFrame(frame);
    frame = 0;
    play.textContent = "Play";
  }

  if (still()) play.disabled = true;
  return {
    element: h("div", { class: "controls" }, control.element, play, where),
    layers: control.value,
    setup(layerNames, layers) {
      stop();
      names = layerNames;
      input.max = String(Math.max(1, names.length));
      control.set(Math.min(names.length, Math.max(0, layers)));
      where.textContent = described(control.value(), names);
    },
    stop,
  };
}

/** "Layer 2 of 5: Planar, 40%". */
export function described(layers: number, names: readonly string[]): string {
  if (layers <= 0) return "Before the first layer: x = z";
  const layer = Math.min(Math.ceil(layers), names.length);
  const share = layers - (layer - 1);
  const part = share >= 1 ? "done" : `${shown(100 * share, 0)}% of the way`;
  return `Layer ${layer} of ${names.length}: ${names[layer - 1]}, ${part}`;
}
