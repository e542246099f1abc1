import { SessionScreen } from './session_screen.js';
export type Ends = {
    idleEnd: number;
    absoluteEnd: number;
};
export type Options = {
    /**
     * How many seconds before an idle end to warn; never earlier than
     * at half of the idle time.
     */
    warnBefore?: number;
    /**
     * The same for an end that nothing can put off.
     */
    warnBeforeAbsolute?: number;
    /**
     * What the person sees.
     */
    screen?: SessionScreen;
};
/**
 * The ends of a session, by Date.now().
 * @typedef {{ idleEnd: number, absoluteEnd: number }} Ends
 *
 * @typedef {object} Options
 * @property {number} [warnBefore]  How many seconds before an idle end to warn; never earlier than
 *   at half of the idle time.
 * @property {number} [warnBeforeAbsolute]  The same for an end that nothing can put off.
 * @property {SessionScreen} [screen]  What the person sees.
 */
/**
 * What the ends mean at `now`. That staying is impossible is told when the absolute end is near,
 * but not while the idle end comes first and can still be put off until then.
 * @param {Ends} ends @param {number} now @param {{ idle: number, absolute: number }} leads
 * @returns {{ reason: 'idle' | 'absolute' | null, left: number }}  `left` in milliseconds.
 */
export declare function judge({ idleEnd, absoluteEnd }: Ends, now: number, leads: {
    idle: number;
    absolute: number;
}): {
    reason: 'idle' | 'absolute' | null;
    left: number;
};
export declare class SessionClock extends EventTarget {
    #private;
    /** @param {Options} [options] */
    constructor({ warnBefore, warnBeforeAbsolute, screen }?: Options);
    /** Begins, unless one runs in this window already. @returns {SessionClock} The one that runs. */
    start(): SessionClock;
    /** Ends everything that start() began, a CSRFManager that it started included. */
    stop(): void;
    /** Seconds until the session ends, by the server's last word; null where that is not known. */
    get expiresIn(): number | null;
    /** The person wants to stay. Resolves when the server has been told, or was not reached. */
    stay(): Promise<void>;
    /** The person wants to leave: a form is sent to data-sign-out-url. Throws where there is none. */
    signOut(): void;
    /** Asks the server how things stand; calls that overlap share one question. */
    check(): Promise<void>;
}
