/**
 * Runs it while no other tab runs the same. Where tabs cannot be told apart (plain http has no Web
 * Locks), or one sleeps in the middle of it, runs it all the same.
 * @param {string} name
 * @param {(hasWaited: boolean) => unknown} run  Who has waited has heard of what the one before was
 *   answered, if it told.
 */
export declare function alone(name: string, run: (hasWaited: boolean) => unknown): Promise<void>;
/** Tells the other tabs, and hears them, until the signal aborts. */
export declare class Tabs {
    #private;
    /** @param {string} name @param {(news: any) => void} hear @param {AbortSignal} signal */
    constructor(name: string, hear: (news: any) => void, signal: AbortSignal);
    /** @param {object} news */
    tell(news: object): void;
}
