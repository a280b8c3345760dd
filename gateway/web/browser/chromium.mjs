// Finds the Chromium that the page is tested in.
//
//     node gateway/web/browser/chromium.mjs            prints its path, or how to get one
//     node gateway/web/browser/chromium.mjs --install  installs it where this is possible without a question (Debian, Ubuntu, as root)

import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge"];
const MAC = [
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];
const HOW = "apt-get install chromium (Debian), brew install --cask chromium (macOS), or name one with CHROMIUM=/path";

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Its path; undefined when there is none. */
export function find() {
  const onPath = (process.env.PATH ?? "").split(delimiter).flatMap((place) => NAMES.map((name) => join(place, name)));
  const named = process.env.CHROMIUM;
  return named ? [named].find(isProgram) : [...onPath, ...MAC].find(isProgram);
}

export const missing = `no Chromium is installed, in which the page is tested: ${HOW}`;

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  if (process.argv.includes("--install") && !find() && process.getuid?.() === 0) {
    for (const command of [["update"], ["install", "--yes", "--no-install-recommends", "chromium"]]) {
      spawnSync("apt-get", command, { stdio: "inherit" });
    }
  }
  const found = find();
  console.log(found ?? missing);
  process.exitCode = found ? 0 : 1;
}
