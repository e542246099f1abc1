export type Status = {
    authenticated: boolean;
    idle_expires_in: number | null;
    absolute_expires_in: number | null;
    subject: string;
};
export type Answer = {
    status: Status;
    since: number;
};
export declare class StatusClient {
    #private;
    /** Before that the server is better left alone, by Date.now(). */
    retryAt: number;
    /** The status code of the last answer that was none; 0 where there was no answer at all. */
    lastRefusal: number;
    /** Whether the last question had no answer. */
    get isAway(): boolean;
    /** Does not count as activity. @returns {Promise<Answer | null>} */
    ask(): Promise<Answer | null>;
    /** Slides the idle time. @returns {Promise<Answer | null>} */
    keepAlive(): Promise<Answer | null>;
    /** @param {number} [wished]  For how many milliseconds the server wants to be left alone. */
    backOff(wished?: number): void;
}
export declare function statusUrl(): string;
