// The widget in JupyterLab and in marimo. JUPYTER and MARIMO are the addresses of a notebook, or an app, that ends in
// `pf.lab.widget()`.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { launch, near } from "./support.mjs";

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const value = async (page, name) => Number(await page.locator(`[data-fact="${name}"]`).first().getAttribute("data-value"));

/** What both must show: panels, numbers, and a training whose events arrive. */
async function works(page) {
  await page.waitForSelector(".flow-lab .panel", { timeout: 60_000 });
  near(await value(page, "naive"), 1.650123, 1e-3, "C");
  await page.locator("#tab-train").first().click();
  await page.locator(".flow-lab button.main").first().click();
  const end = Date.now() + 60_000;
  while (!((await value(page, "step")) > 20) && Date.now() < end) await page.waitForTimeout(200);
  assert.ok((await value(page, "step")) > 20, `step ${await value(page, "step")}`);
  await page.locator(".flow-lab button.main").first().click();
}

async function opened(address) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 1000 }, reducedMotion: "reduce" });
  const page = await context.newPage();
  page.failures = [];
  page.on("pageerror", (error) => page.failures.push(String(error)));
  await page.goto(address);
  return page;
}

test("JupyterLab", { skip: !process.env.JUPYTER && "no address in JUPYTER" }, async () => {
  const page = await opened(process.env.JUPYTER);
  await page.waitForSelector(".jp-Notebook .jp-CodeCell", { timeout: 60_000 });
  await page.locator(".jp-Notebook .jp-CodeCell .cm-content").first().click();
  await page.waitForSelector('.jp-Notebook-ExecutionIndicator[data-status="idle"]', { timeout: 60_000 });
  await page.keyboard.press("Shift+Enter");
  await works(page);
  if (process.env.FLOW_LAB_PICTURES) await page.screenshot({ path: `${process.env.FLOW_LAB_PICTURES}/jupyter.png` });
  assert.deepEqual(page.failures, []);
});

test("marimo", { skip: !process.env.MARIMO && "no address in MARIMO" }, async () => {
  const page = await opened(process.env.MARIMO);
  await works(page);
  if (process.env.FLOW_LAB_PICTURES) await page.screenshot({ path: `${process.env.FLOW_LAB_PICTURES}/marimo.png` });
  assert.deepEqual(page.failures, []);
});
