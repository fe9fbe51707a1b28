// Who is signed in, signing in, signing out.

import { ask, OURS } from './http';

export interface Session {
  user: string;
  /** Where modalities send to; null when the server does not say. */
  aeTitle: string | null;
  dimsePort: number | null;
}

type Answer = Record<string, unknown>;

export function readSession(answer: Answer): Session {
  const text = (key: string) => (typeof answer[key] === 'string' ? answer[key] : null);
  const titles = answer['ae_titles'];
  const first: unknown = Array.isArray(titles) ? titles[0] : null;
  const port = answer['dimse_port'];
  return {
    user: text('display_name') ?? text('user') ?? text('name') ?? '',
    aeTitle: text('ae_title') ?? (typeof first === 'string' ? first : null),
    dimsePort: typeof port === 'number' ? port : null,
  };
}

export async function currentSession(): Promise<Session> {
  return readSession((await (await ask('/api/session')).json()) as Answer);
}

export async function signIn(user: string, password: string): Promise<void> {
  await ask('/api/session', {
    method: 'POST',
    headers: { ...OURS, 'Content-Type': 'application/json' },
    body: JSON.stringify({ user, password }),
  });
}

export async function signOut(): Promise<void> {
  await ask('/api/session', { method: 'DELETE', headers: OURS });
}

/** Where to go after signing in: a path of this server, whatever the address asks for. */
export function nextPage(search: string): string {
  const wanted = new URLSearchParams(search).get('next') ?? '/';
  if (!wanted.startsWith('/') || /^\/[/\\]/.test(wanted)) return '/';
  // The browser's own reading decides, not ours: tabs and line ends vanish in addresses.
  const there = new URL(wanted, location.origin);
  return there.origin === location.origin ? there.pathname + there.search + there.hash : '/';
}

export function goToSignIn(): void {
  const here = location.pathname + location.search;
  location.assign(here === '/' ? '/login' : `/login?next=${encodeURIComponent(here)}`);
}
