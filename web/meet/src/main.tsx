import "@livekit/components-styles/components/participant";
import "./styles/base.css";
import "./styles/entrance.css";
import "./styles/call.css";
import "./styles/panels.css";
import "./styles/messages.css";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { Safety } from "./parts/Safety";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root");
createRoot(root).render(
  <Safety>
    <App />
  </Safety>,
);
