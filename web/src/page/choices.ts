// A few buttons of which one is pressed.

import { button, h } from "./ui";

export interface Choices<T extends string> {
  element: HTMLElement;
  /** Shows which one is pressed (null: none), without calling the listener. */
  set(value: T | null): void;
}

export function choices<T extends string>(
  label: string, options: readonly (readonly [T, string])[], value: T | null, chosen: (value: T) => void,
): Choices<T> {
  const buttons = options.map(([name, title]) => {
    const one = button(title, () => {
      set(name);
      chosen(name);
    });
    one.dataset.choice = name;
    return one;
  });
  const set = (pressed: T | null) =>
    buttons.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.choice === pressed)));
  set(value);
  return { element: h("div", { class: "choices", role: "group", "aria-label": label }, ...buttons), set };
}
