export type Keeper = import('./csrf_page.js').Keeper;
/** Until the signal aborts. @param {Keeper} keeper @param {AbortSignal} signal */
export declare function patchRequests(keeper: Keeper, signal: AbortSignal): void;
