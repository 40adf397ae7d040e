// How steps find what they press, and names that nobody else gives.

export const id = (name) => `[data-testid="${name}"]`;
export const RUN = Date.now().toString(36);
export const NASTY = '<img src=x onerror=console.error(1)>\u202E' + 'Ω'.repeat(60);
