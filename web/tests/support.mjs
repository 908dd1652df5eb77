// What the tests in Chromium share: a browser, pages of the running Flow Lab, and what pages complain about.

import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import assert from "node:assert/strict";

/** The address that `pushforward lab` prints, with its token. */
export const ADDRESS = process.env.FLOW_LAB ?? "";
export const PICTURES = process.env.FLOW_LAB_PICTURES ?? "";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export function launch() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
}

/** A page at a panel; `page.complaints` collects errors of the console and of scripts. */
export async function open(browser, panel, options = {}) {
  const { width = 1280, height = 900, theme = "light", motion = "no-preference", query = "" } = options;
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: theme, reducedMotion: motion, bypassCSP: true, acceptDownloads: true,
  });
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  await page.goto(`${ADDRESS}#${panel}${query && `?${query}`}`);
  await page.waitForSelector(`#tab-${panel}[aria-selected="true"]`);
  return page;
}

/** The full number, or list of numbers, of an element. */
export async function numberOf(page, selector) {
  const text = await page.getAttribute(selector, "data-value");
  assert.notEqual(text, null, `${selector} has no data-value`);
  const numbers = text.split(",").map(Number);
  return numbers.length === 1 ? numbers[0] : numbers;
}

export function near(value, expected, tolerance, what = "") {
  assert.ok(Math.abs(value - expected) <= tolerance, `${what}: ${value} is not within ${tolerance} of ${expected}`);
}

/** Fails with the list of what axe-core finds, or where the page complained. */
export async function clean(page) {
  await page.addScriptTag({ content: AXE });
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const violations = found.violations.map((v) => `${v.id}: ${v.help} (${v.nodes.map((n) => n.html.slice(0, 90)).join(" | ")})`);
  assert.deepEqual(violations, []);
  assert.deepEqual(page.complaints, []);
}
