import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/components.css";
import "./styles/pages.css";

import { render } from "preact";

import { App } from "./app";
import { startPreferences } from "./preferences";
import { resumeSession } from "./session";

startPreferences();
void resumeSession();
const root = document.getElementById("app");
if (root) render(<App />, root);
