/** {time} stands for what is left: "2:00" where it is shown, "2 minutes" where it is spoken. */
export declare const WORDS: {
    warning: string;
    idle: string;
    absolute: string;
    stay: string;
    goOn: string;
    signOut: string;
    ended: string;
    endedText: string;
    changed: string;
    changedText: string;
    waiting: string;
    waitingText: string;
    unreached: string;
    unreachedText: string;
    signIn: string;
    newTab: string;
    reload: string;
    reloadText: string;
    note: string;
};
export type WarningActions = {
    stay: () => void;
    signOut: (() => void) | undefined;
};
export type CoverReason = 'ended' | 'changed' | 'unreached' | 'waiting';
export type CoverActions = {
    signInUrl: string;
    /**
     * Told of the tab in which the person signs in.
     */
    opened: (tab: Window | null) => void;
};
/**
 * @typedef {object} WarningActions
 * @property {() => void} stay
 * @property {(() => void) | undefined} signOut
 *
 * @typedef {'ended' | 'changed' | 'unreached' | 'waiting'} CoverReason
 *
 * @typedef {object} CoverActions
 * @property {string} signInUrl
 * @property {(tab: Window | null) => void} opened  Told of the tab in which the person signs in.
 */
export declare class SessionScreen {
    #private;
    /** @param {{ words?: Partial<typeof WORDS> }} [options] */
    constructor({ words }?: {
        words?: Partial<typeof WORDS>;
    });
    /**
     * The end is near. @param {'idle' | 'absolute'} reason @param {number} left  Milliseconds.
     * @param {WarningActions} actions
     */
    warn(reason: 'idle' | 'absolute', left: number, { stay, signOut }: WarningActions): void;
    /** What is left now. @param {number} left  Milliseconds. */
    count(left: number): void;
    /** Nothing of the page is seen any more, as yet without a word. */
    hide(): void;
    /**
     * As `cover`, unless that or `clear` comes first, as it mostly does.
     * @param {CoverReason} reason @param {CoverActions} actions
     */
    coverSoon(reason: CoverReason, actions: CoverActions): void;
    /**
     * The session is over, or may be (`waiting`): nothing of the page is seen any more, and nothing
     * of it is lost.
     * @param {CoverReason} reason @param {CoverActions} actions
     */
    cover(reason: CoverReason, { signInUrl, opened }: CoverActions): void;
    /** A line at the foot of the page, or none. @param {'' | 'unreached'} kind */
    note(kind: '' | 'unreached'): void;
    /** Nothing is to be said any more; what had the focus has it again. */
    clear(): void;
    /** As they are now: a page may be swapped for one in another language. */
    get words(): {
        warning: string;
        idle: string;
        absolute: string;
        stay: string;
        goOn: string;
        signOut: string;
        ended: string;
        endedText: string;
        changed: string;
        changedText: string;
        waiting: string;
        waitingText: string;
        unreached: string;
        unreachedText: string;
        signIn: string;
        newTab: string;
        reload: string;
        reloadText: string;
        note: string;
    };
}
