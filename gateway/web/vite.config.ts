import { defineConfig } from "vite";

// What `gateway/src/page.rs` embeds. Nothing is inlined: the policy of the page allows files of its own origin and no more.
export default defineConfig({
  base: "./",
  build: {
    outDir: "embed/page",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: false,
    license: { fileName: "licenses.txt" },
  },
  // `npm run dev` shows a page that is being worked on, with the data of a gateway that runs.
  server: { proxy: { "/ledgerflux.v1": "http://127.0.0.1:8000", "/info.json": "http://127.0.0.1:8000" } },
});
