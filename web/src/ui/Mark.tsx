// The name of the house.

export function Mark() {
  return (
    <span className="mark">
      <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
        <rect x="3" y="2" width="14" height="16" rx="1.5" fill="none" stroke="currentColor" strokeWidth="1.5" />
        <circle cx="7.8" cy="10" r="1.9" fill="none" stroke="currentColor" strokeWidth="1.5" />
        <circle cx="12.2" cy="10" r="1.9" fill="none" stroke="currentColor" strokeWidth="1.5" />
      </svg>
      filmroom
    </span>
  );
}
