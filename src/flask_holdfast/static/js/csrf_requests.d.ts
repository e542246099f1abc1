export type Keeper = {
    token: () => string;
    ready: () => Promise<void> | undefined;
    refused: (grant: import('./csrf_page.js').Grant, askedAt: number) => boolean;
    fail: (response?: Response) => void;
};
/** Until the signal aborts. @param {Keeper} keeper @param {AbortSignal} signal */
export declare function patchRequests(keeper: Keeper, signal: AbortSignal): void;
