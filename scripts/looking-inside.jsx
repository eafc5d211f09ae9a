// SPDX-License-Identifier: MIT
// H5Web, showing the container that the server beside this page has: looking-inside.mjs.
import "@h5web/app/styles.css";
import { App } from "@h5web/app";
import { H5WasmBufferProvider } from "@h5web/h5wasm";
import { createRoot } from "react-dom/client";

const buffer = await (await fetch("container")).arrayBuffer();
const path = new URLSearchParams(location.search).get("path") ?? "/";

createRoot(document.body.appendChild(document.createElement("main"))).render(
    <div style={{ height: "100vh" }}>
        <H5WasmBufferProvider filename="blobs.h5" buffer={buffer}>
            <App initialPath={path} />
        </H5WasmBufferProvider>
    </div>
);
