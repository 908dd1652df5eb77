// Formulas: the build turns the TeX of every call into MathML, which browsers typeset themselves.

/** A line of mathematics from TeX, which must be a string literal. */
export function formula(tex: string): HTMLElement {
  const span = document.createElement("span");
  span.className = "math";
  span.innerHTML = tex;
  return span;
}
