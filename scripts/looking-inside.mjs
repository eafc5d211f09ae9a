// SPDX-License-Identifier: MIT
// Photograph a container in H5Web: looking-inside.sh calls this.
//
//   node looking-inside.mjs FOLDER CONTAINER PATH VIEW PICTURE
//
// FOLDER has the page (index.html, page.js, page.css). PATH is the object to open, VIEW what to
// show of it: "Inspect" or "Display".
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [folder, container, path, view, picture] = process.argv.slice(2);
const { chromium } = createRequire(resolve(folder, "package.json"))("playwright-core");

const types = { html: "text/html", js: "text/javascript", css: "text/css" };
const server = createServer((request, response) => {
    const name = new URL(request.url, "http://localhost").pathname.slice(1) || "index.html";
    const file = name === "container" ? container : join(folder, name);
    response.setHeader("Content-Type", types[name.split(".").pop()] ?? "application/octet-stream");
    createReadStream(file)
        .on("error", () => response.writeHead(404).end())
        .pipe(response);
}).listen(0, "127.0.0.1");
await new Promise((ready) => server.on("listening", ready));

// The page is our own and comes from this machine; the sandbox does not work for root.
const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"],
});
const page = await browser.newPage({ viewport: { width: view === "Inspect" ? 1400 : 1080, height: 600 } });
page.on("pageerror", (error) => {
    console.error(`page: ${error}`);
    process.exitCode = 1;
});
await page.goto(`http://127.0.0.1:${server.address().port}/?path=${encodeURIComponent(path)}`);
await page.getByRole("tab", { name: view }).click({ timeout: 60_000 });
await page.waitForLoadState("networkidle");
await page.waitForTimeout(3000); // the heat map is drawn by workers, which tell nobody
await page.screenshot({ path: picture });
await browser.close();
server.close();
