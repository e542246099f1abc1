export { CSRFRefreshError } from './csrf_grant.js';
export type Grant = import('./csrf_page.js').Grant;
/** @typedef {import('./csrf_page.js').Grant} Grant */
export declare class CSRFManager extends EventTarget {
    #private;
    /**
     * @param {{ interval?: number, words?: Partial<typeof import('./csrf_forms.js').WORDS> }} [options]
     *   Seconds between refreshes; what a person reads.
     */
    constructor({ interval, words }?: {
        interval?: number;
        words?: Partial<typeof import('./csrf_forms.js').WORDS>;
    });
    /** Begins, unless one runs in this window already. @returns {CSRFManager} The one that runs. */
    start(): CSRFManager;
    /** Ends everything that start() began. Tokens that have been renewed stay so. */
    stop(): void;
    /**
     * Looks after a frame or a window as well that this page has opened and filled by script
     * (about:blank, srcdoc, document.write), until it shows another document: then again. Not where
     * a manager runs. Throws a SecurityError for one of another origin.
     * @param {Window} frame  As `iframe.contentWindow`.
     */
    adopt(frame: Window): void;
    /** The token to send now; empty where there is none, or where the session is another's. */
    get token(): string;
    /**
     * Asks the server for a new token; calls that overlap, in other tabs too, share one request.
     * @returns {Promise<string>}  As `token`. Rejects with CSRFRefreshError.
     */
    refresh(): Promise<string>;
}
