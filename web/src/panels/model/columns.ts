// The columns of a model as the page knows them, and their values as text.

import { shown } from "../../page/ui";

export type Value = string | number | boolean;
export type Given = Record<string, Value>;

export interface Column {
  name: string;
  kind: "category" | "boolean" | "time" | "integer" | "number";
  values?: Value[];
  low?: number;
  high?: number;
  decimals?: number;
  /** Whether the model is one given this column. */
  required?: boolean;
}

/** The distribution of one column. */
export interface Marginal {
  name: string;
  x?: number[];
  density?: (number | null)[];
  values?: Value[];
  probabilities?: (number | null)[];
}

const DAY = 86400;
/** Beyond which a column of times is shown by its days. */
const FEW_DAYS = 20 * DAY;

/** The values of a column of few, null for one of numbers. */
export function valuesOf(column: Column): Value[] | null {
  return column.values ?? (column.kind === "boolean" ? [false, true] : null);
}

/** The step of a slider over a column: about 200 from end to end, whole where the column holds whole numbers. */
export function stepOf({ kind, low = 0, high = 1, decimals }: Column): number {
  const rough = (high - low) / 200;
  if (kind === "integer") return Math.max(1, Math.round(rough));
  if (kind === "time") return high - low > FEW_DAYS ? DAY * Math.max(1, Math.round(rough / DAY)) : Math.max(1, Math.round(rough));
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  const step = rough / power >= 5 ? 5 * power : rough / power >= 2 ? 2 * power : power;
  return Number((decimals === undefined ? step : Math.max(step, 10 ** -decimals)).toPrecision(12));
}

/** A value of a column in words. */
export function valueText(column: Column, value: Value | null): string {
  if (value === null) return "–";
  if (typeof value === "boolean") return value ? "true" : "false";
  if (typeof value === "string") return value;
  if (column.kind === "time") return timeText(value, (column.high ?? 0) - (column.low ?? 0));
  return numberText(value, column);
}

/** Seconds since 1970 as a date, with the hour where the column spans few days. */
function timeText(seconds: number, span: number): string {
  const date = new Date(1000 * seconds);
  if (Number.isNaN(date.getTime())) return "–";
  const text = date.toISOString();
  return span > FEW_DAYS ? text.slice(0, 10) : `${text.slice(0, 10)} ${text.slice(11, 16)}`;
}

function numberText(value: number, column: Column): string {
  const size = Math.max(Math.abs(column.low ?? 0), Math.abs(column.high ?? 0));
  if (size >= 1e7 || (size > 0 && size < 1e-4)) return value.toExponential(2).replaceAll("-", "−");
  const step = stepOf(column);
  const digits = Math.min(column.decimals ?? 8, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  return shown(value, digits);
}

/** A value of a column as an expression of Python; times take `datetime` from the module of that name. */
export function literal(column: Column, value: Value): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (column.kind === "time" && typeof value === "number")
    return `datetime.fromisoformat(${JSON.stringify(new Date(1000 * value).toISOString().slice(0, 19))})`;
  return JSON.stringify(value);
}

/** A cell of a table that Python sent. */
export function entryText(entry: unknown): string {
  if (entry === null || entry === undefined) return "missing";
  if (typeof entry === "number") {
    if (Number.isInteger(entry)) return String(entry).replace("-", "−");
    const size = Math.abs(entry);
    if (size >= 1e7 || size < 1e-4) return entry.toExponential(2).replaceAll("-", "−");
    return String(Number(entry.toPrecision(5))).replace("-", "−");
  }
  return String(entry);
}
