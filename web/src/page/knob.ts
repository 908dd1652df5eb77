// A handle over a picture that is dragged by mouse or finger and moved by keys: a slider for assistive technology.

import { h } from "./ui";

export interface KnobOptions {
  label: string;
  /** A colour of the style sheet. */
  colour: string;
  /** To a place in CSS pixels from the upper left corner of the stage. */
  dragged(left: number, top: number): void;
  /** By so many small steps to the right and upwards; ±Infinity: as far as it goes. */
  stepped(right: number, up: number): void;
  /** A drag, or a key, has ended. */
  settled(): void;
}

export interface KnobValue {
  now: number;
  min: number;
  max: number;
  text: string;
}

export class Knob {
  readonly element: HTMLElement;

  constructor(
    private stage: HTMLElement,
    private options: KnobOptions,
  ) {
    const { label, colour } = options;
    this.element = h("div", {
      class: "knob", role: "slider", tabindex: "0", "aria-label": label, "aria-orientation": "vertical",
      pointerdown: (event: PointerEvent) => this.grab(event),
      keydown: (event: KeyboardEvent) => this.key(event),
    });
    const { style } = this.element;
    stage.style.position = "relative";
    [style.position, style.transform, style.touchAction] = ["absolute", "translate(-50%, -50%)", "none"];
    style.setProperty("--knob", `var(--${colour})`);
    stage.append(this.element);
  }

  /** In CSS pixels of the stage. */
  place(left: number, top: number, value: KnobValue): void {
    const { element } = this;
    element.style.left = `${left}px`;
    element.style.top = `${top}px`;
    element.setAttribute("aria-valuenow", String(Number(value.now.toFixed(4))));
    element.setAttribute("aria-valuemin", String(Number(value.min.toFixed(4))));
    element.setAttribute("aria-valuemax", String(Number(value.max.toFixed(4))));
    element.setAttribute("aria-valuetext", value.text);
    element.dataset.value = String(value.now);
  }

  private grab(event: PointerEvent): void {
    if (event.button !== 0) return;
    event.preventDefault();
    const { element, options, stage } = this;
    const own = element.getBoundingClientRect();
    const off = [event.clientX - own.left - own.width / 2, event.clientY - own.top - own.height / 2];
    element.focus({ preventScroll: true });
    element.setPointerCapture(event.pointerId);
    const move = (at: PointerEvent) => {
      if (at.pointerId !== event.pointerId) return;
      const box = stage.getBoundingClientRect();
      options.dragged(at.clientX - box.left - off[0], at.clientY - box.top - off[1]);
    };
    const end = () => {
      element.removeEventListener("pointermove", move);
      element.removeEventListener("lostpointercapture", end);
      options.settled();
    };
    element.addEventListener("pointermove", move);
    element.addEventListener("lostpointercapture", end);
  }

  private key(event: KeyboardEvent): void {
    const step = event.shiftKey ? 10 : 1;
    const moves: Record<string, [number, number]> = {
      ArrowUp: [0, step], ArrowDown: [0, -step], ArrowRight: [step, 0], ArrowLeft: [-step, 0],
      PageUp: [0, 10], PageDown: [0, -10], Home: [0, -Infinity], End: [0, Infinity],
    };
    const move = moves[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.options.stepped(...move);
    this.options.settled();
  }
}
