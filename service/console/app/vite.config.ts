import { defineConfig } from "vite";

// Relative addresses: the same files work at `/` and below any prefix of a proxy.
// `cssCodeSplit: false` and no inlining: the Content-Security-Policy allows files of this host alone.
export default defineConfig({
  base: "./",
  // `paths` there name the client that programs use too, by its sources.
  resolve: { tsconfigPaths: true },
  build: {
    outDir: "../dist",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    target: "es2022",
    reportCompressedSize: false,
  },
  server: {
    proxy: { "/v1": "http://127.0.0.1:8000", "/docs": "http://127.0.0.1:8000" },
  },
});
