"""Failed sign-ins cost time, for whoever fails and for nobody else."""

from accounts import AClock
from filmroom.security.attempts import Attempts
from filmroom.security.settings import SecuritySettings


def some_attempts(**settings):
    clock = AClock()
    return Attempts(SecuritySettings(**settings), clock), clock


def test_five_failures_cost_a_pause_that_doubles():
    attempts, clock = some_attempts()
    for _ in range(4):
        attempts.failed("grace", "10.0.0.1")
        assert attempts.wait("grace", "10.0.0.1") == 0
    attempts.failed("grace", "10.0.0.1")
    assert attempts.wait("grace", "10.0.0.1") == 30
    clock.time += 31
    assert attempts.wait("grace", "10.0.0.1") == 0
    attempts.failed("grace", "10.0.0.1")
    assert attempts.wait("grace", "10.0.0.1") == 60


def test_the_pause_ends_at_a_quarter_of_an_hour():
    attempts, _ = some_attempts(address_failures_per_minute=10_000)
    for _ in range(200):
        attempts.failed("grace", "10.0.0.1")
    assert attempts.wait("grace", "10.0.0.1") == 900


def test_a_stranger_cannot_lock_somebody_out_from_elsewhere():
    attempts, _ = some_attempts()
    for _ in range(20):
        attempts.failed("admin", "203.0.113.9")
    assert attempts.wait("admin", "203.0.113.9") > 0
    assert attempts.wait("admin", "10.0.0.1") == 0


def test_many_names_from_one_address_are_one_attack():
    attempts, clock = some_attempts()
    for number in range(30):
        attempts.failed(f"user{number}", "203.0.113.9")
    assert attempts.wait("yet-another", "203.0.113.9") == 60
    clock.time += 61
    assert attempts.wait("yet-another", "203.0.113.9") == 0


def test_success_forgets():
    attempts, _ = some_attempts()
    for _ in range(4):
        attempts.failed("grace", "10.0.0.1")
    attempts.succeeded("grace", "10.0.0.1")
    attempts.failed("grace", "10.0.0.1")
    assert attempts.wait("grace", "10.0.0.1") == 0


def test_right_passwords_never_add_up_to_a_pause():
    attempts, _ = some_attempts()
    for _ in range(100):
        attempts.failed("grace", "10.0.0.1")  # counted before the check
        attempts.succeeded("grace", "10.0.0.1")
    assert attempts.wait("anybody", "10.0.0.1") == 0


def test_memory_is_bounded():
    attempts, _ = some_attempts(address_failures_per_minute=10)
    for number in range(25_000):
        attempts.failed("x", f"10.{number >> 8}.{number & 255}.1")
    assert len(attempts._tallies) <= 20_000
