// Small pieces of the page: elements, controls, and the button that copies Python.

type Child = Node | string | null | undefined;

/** An element with attributes (functions are listeners) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, unknown> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value as EventListener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== undefined));
  return element;
}

/** A number with so many digits behind the point, with a real minus sign; "–" where there is none. */
export function shown(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  return value.toFixed(digits).replace("-", "−");
}

export interface Control<T> {
  element: HTMLElement;
  value(): T;
  /** Changes the value without calling the listener. */
  set(value: T): void;
}

let counter = 0;

export function slider(
  label: string,
  range: { min: number; max: number; step: number; value: number; digits?: number },
  changed: (value: number) => void,
): Control<number> {
  const id = `lab-${(counter += 1)}`;
  const digits = range.digits ?? (range.step >= 1 ? 0 : 2);
  const output = h("output", { for: id }, shown(range.value, digits));
  const input = h("input", { id, type: "range", ...pick(range) }) as HTMLInputElement;
  const show = () => {
    output.textContent = shown(Number(input.value), digits);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    show();
    changed(Number(input.value));
  });
  return {
    element: h("div", { class: "control slider" }, h("label", { for: id }, label), input, output),
    value: () => Number(input.value),
    set(value) {
      input.value = String(value);
      show();
    },
  };
}

function pick(range: { min: number; max: number; step: number; value: number }): Record<string, number> {
  return { min: range.min, max: range.max, step: range.step, value: range.value };
}

export function select<T extends string>(
  label: string,
  options: readonly (readonly [T, string])[],
  value: T,
  changed: (value: T) => void,
): Control<T> {
  const id = `lab-${(counter += 1)}`;
  const input = h("select", { id }) as HTMLSelectElement;
  for (const [name, title] of options) input.append(h("option", { value: name }, title));
  input.value = value;
  input.addEventListener("change", () => changed(input.value as T));
  return {
    element: h("div", { class: "control" }, h("label", { for: id }, label), input),
    value: () => input.value as T,
    set(name) {
      input.value = name;
    },
  };
}

export function checkbox(label: string, value: boolean, changed: (value: boolean) => void): Control<boolean> {
  const input = h("input", { type: "checkbox" }) as HTMLInputElement;
  input.checked = value;
  input.addEventListener("change", () => changed(input.checked));
  return {
    element: h("label", { class: "control check" }, input, label),
    value: () => input.checked,
    set(checked) {
      input.checked = checked;
    },
  };
}

export function button(label: string, pressed: () => void, kind: "plain" | "main" = "plain"): HTMLButtonElement {
  return h("button", { type: "button", class: kind === "main" ? "main" : null, click: pressed }, label);
}

/** "Copy the Python": lines which do the same in the library, and run as they are. */
export function python(lines: () => string): HTMLElement {
  const copied = button("Copy the Python", async () => {
    const text = lines();
    code.textContent = text;
    details.open = true;
    try {
      await navigator.clipboard.writeText(text);
      copied.textContent = "Copied";
    } catch {
      copied.textContent = "Select and copy it below";
    }
    window.setTimeout(() => (copied.textContent = "Copy the Python"), 1600);
  });
  const code = h("code", {});
  const details = h("details", { class: "python" }, h("summary", {}, "Python"), h("pre", { tabindex: "0" }, code));
  details.addEventListener("toggle", () => {
    if (details.open) code.textContent = lines();
  });
  return h("div", { class: "copy" }, copied, details);
}

/** Calls a function at most once a frame, with the last request. */
export function onceAFrame(draw: () => void): { request(): void; cancel(): void } {
  let frame = 0;
  return {
    request() {
      if (frame) return;
      frame = requestAnimationFrame(() => {
        frame = 0;
        draw();
      });
    },
    cancel() {
      cancelAnimationFrame(frame);
      frame = 0;
    },
  };
}

/** Gives a select other options; its value stays where it is still one of them, else the first is taken. */
export function refill<T extends string>(control: Control<T>, options: readonly (readonly [T, string])[]): void {
  const input = control.element.querySelector("select") as HTMLSelectElement;
  const value = input.value;
  input.replaceChildren(...options.map(([name, title]) => h("option", { value: name }, title)));
  input.value = options.some(([name]) => name === value) ? value : (options[0]?.[0] ?? "");
}
