/** The Chromium executable: CHROME_BIN, else a system's, else Playwright's; undefined where there is none. */
export declare const findChromium: () => string | undefined
