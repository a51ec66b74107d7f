// Builds the page into ../voice_agent/web/static, which is committed, so that installing needs no node.
//
//     npm ci && npm run build          (npm run check: types only)
//
// build.json records a hash of everything the page is made from; tests/web/test_static.py computes it again.

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "voice_agent", "web", "static");
const sources = [...readdirSync(join(here, "src")).map((name) => `src/${name}`), "build.mjs", "package-lock.json", "tsconfig.json"].sort();

const hash = createHash("sha256");
for (const name of sources) {
  hash.update(name).update("\0").update(readFileSync(join(here, name))).update("\0");
}

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.ts" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none", // the licences stand in THIRD_PARTY.txt
});
await build({ absWorkingDir: here, entryPoints: { app: "src/app.css" }, outdir: out, bundle: true, minify: true });
for (const name of ["index.html", "icon.svg"]) copyFileSync(join(here, "src", name), join(out, name));

// livekit-client comes with its own dependencies inside, so the lock says what app.js contains, not esbuild.
const lock = JSON.parse(readFileSync(join(here, "package-lock.json"), "utf8")).packages;
const packages = Object.keys(lock)
  .filter((path) => path.startsWith("node_modules/") && !lock[path].dev && !path.includes("@types/"))
  .map((path) => path.slice("node_modules/".length));
const licences = packages.map((name) => {
  const folder = join(here, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file ? readFileSync(join(folder, file), "utf8").trim() : "(the package carries no licence text)";
  return `${name} ${version} (${license})\n\n${text}\n`;
});
const rule = `\n${"-".repeat(80)}\n\n`;
writeFileSync(join(out, "THIRD_PARTY.txt"), `app.js contains these packages:\n\n${licences.join(rule)}`);
writeFileSync(join(out, "build.json"), `${JSON.stringify({ sources: hash.digest("hex") })}\n`);
