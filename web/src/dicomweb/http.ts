// One way to ask our server; says in words what went wrong, and who must sign in again.

export class ServerError extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

/** State-changing requests carry this: a page of another origin cannot set it. */
export const OURS = { 'X-Filmroom': '1' };

const UNREACHABLE = 'The server does not answer. Check that it is running and try again.';

/** Fetch, and throw a ServerError for whatever is not a success. */
export async function ask(address: string, options: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(address, { credentials: 'same-origin', ...options });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ServerError(0, UNREACHABLE);
  }
  if (!response.ok) throw new ServerError(response.status, await reason(response));
  return response;
}

/** The server's own words for a refusal, whichever of our bodies carries them. */
export async function reason(response: Response): Promise<string> {
  const text = await response.text().catch(() => '');
  return words(text) || `The server answered ${response.status} ${response.statusText}`.trim();
}

/** Find the sentence in a body; empty when there is none fit to show. */
export function words(body: string): string {
  try {
    const found: unknown = JSON.parse(body);
    if (found && typeof found === 'object') {
      for (const key of ['detail', 'message', 'error', 'title']) {
        const value = (found as Record<string, unknown>)[key];
        if (typeof value === 'string' && value) return value;
      }
    }
    return '';
  } catch {
    return /^\s*</.test(body) ? '' : body.trim().slice(0, 300);
  }
}
