export type Grant = import('./csrf_page.js').Grant;
/** The server was not reached (`cause`), or did not answer with a token (`response`). */
export declare class CSRFRefreshError extends Error {
    response: Response | undefined;
    /** @param {string} message @param {{ response?: Response, cause?: unknown }} [details] */
    constructor(message: string, { response, cause }?: {
        response?: Response;
        cause?: unknown;
    });
}
/** @returns {Promise<Grant>} Rejects with CSRFRefreshError. */
export declare function requestGrant(): Promise<Grant>;
