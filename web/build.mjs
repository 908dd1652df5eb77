// Builds the browser side: one ES module and one style sheet in src/pushforward/lab/static, which users get as they are.
// Formulas are turned into MathML here, so that no typesetting program travels along.
//
//     npm ci && npm run build            (with --check: only says whether the files there are what this would build)

import { build } from "esbuild";
import katex from "katex";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";

const OUT = new URL("../src/pushforward/lab/static/", import.meta.url);

/** `formula("...")` with a string literal becomes `formula("<math>...")`. */
const formulas = {
  name: "formulas",
  setup(plugin) {
    plugin.onLoad({ filter: /src\/.*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const contents = source.replace(/\bformula\(\s*(String\.raw`[^`]*`|"(?:[^"\\]|\\.)*"|`[^`$]*`)\s*,?\s*\)/g, (whole, literal) => {
        const tex = literal.startsWith("String.raw`") ? literal.slice(11, -1) : JSON.parse(literal.replace(/^`|`$/g, '"'));
        const html = katex.renderToString(tex, { output: "mathml", throwOnError: true });
        const math = html.replace(/^<span class="katex">|<\/span>$/g, "").replace(/<annotation[^>]*>.*?<\/annotation>/gs, "")
          // "log q" needs the space that MathML leaves to fonts.
          .replace(/<mo>\u2061<\/mo>(?!<mo[^>]*>\()/g, '<mo>\u2061</mo><mspace width="0.16em"/>');
        return `formula(${JSON.stringify(math)})`;
      });
      return { contents, loader: "ts" };
    });
  },
};

const result = await build({
  entryPoints: { lab: "src/main.ts" },
  outdir: "out",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "eof",
  write: false,
  plugins: [formulas],
});

const checking = process.argv.includes("--check");
let stale = false;
await mkdir(OUT, { recursive: true });
for (const file of result.outputFiles) {
  const url = new URL(file.path.split("/").pop(), OUT);
  const size = `${(gzipSync(file.contents).length / 1000).toFixed(1)} KB gzipped`;
  if (checking) {
    const there = await readFile(url).catch(() => null);
    if (there === null || !there.equals(Buffer.from(file.contents))) stale = true;
  } else {
    await writeFile(url, file.contents);
    console.log(`${url.pathname.split("/").pop()}: ${size}`);
  }
}
if (stale) {
  console.error("src/pushforward/lab/static is not what web/ builds; run `npm run build` in web.");
  process.exit(1);
}
