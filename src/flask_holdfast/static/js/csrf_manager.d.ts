export type Grant = import('./csrf_page.js').Grant;
/** @typedef {import('./csrf_page.js').Grant} Grant */
/** The server was not reached (`cause`), or did not answer with a token (`response`). */
export declare class CSRFRefreshError extends Error {
    response: Response | undefined;
    /** @param {string} message @param {{ response?: Response, cause?: unknown }} [details] */
    constructor(message: string, { response, cause }?: {
        response?: Response;
        cause?: unknown;
    });
}
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
    /** The token to send now; empty where there is none, or where the session is another's. */
    get token(): string;
    /**
     * Asks the server for a new token; calls that overlap, in other tabs too, share one request.
     * @returns {Promise<string>}  As `token`. Rejects with CSRFRefreshError.
     */
    refresh(): Promise<string>;
}
