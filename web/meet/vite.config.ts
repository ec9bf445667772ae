import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `npm run dev` serves the page with hot reload and hands everything else to a server started with `stoa dev`.
const SERVER = "http://127.0.0.1:7880";

export default defineConfig({
  plugins: [react()],
  // The client of messaging, from its sources: nothing has to be built before the page.
  resolve: { alias: { "stoa-messaging": new URL("../../sdk/js/src/index.ts", import.meta.url).pathname } },
  build: { target: "es2022", sourcemap: false, chunkSizeWarningLimit: 1000 },
  server: {
    proxy: {
      "/api": SERVER,
      "/rtc": { target: SERVER, ws: true },
      "/m/v1": { target: SERVER, ws: true },
    },
  },
  test: { include: ["test/**/*.test.ts"] },
});
