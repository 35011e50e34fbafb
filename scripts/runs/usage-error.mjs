/** Used wrongly: the message is for whoever typed it. */
export class UsageError extends Error {}
