"""What the rooms behind the HTTP door are told: where it stands, how it is locked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """One table of the configuration file: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class HttpSettings(Section):
    """`[http]`: the web door."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; `0.0.0.0` for all.")
    port: Port = Field(default=8080, description="Port to listen on; 0 takes a free one.")
    share_port: bool = Field(
        default=False,
        description="Let other nodes on this machine listen on the same port; the system deals "
        "connections out.",
    )
    public_url: str = Field(
        default="",
        description="The address people type, e.g. `https://pacs.example.org`, if not this one.",
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM file with the certificate chain; set it to serve HTTPS."
    )
    tls_key: Path | None = Field(
        default=None, description="PEM file with the certificate's private key."
    )
    trusted_proxies: tuple[str, ...] = Field(
        default=(),
        description="Addresses or networks whose `X-Forwarded-For` and `-Proto` are believed.",
    )
    session_hours: float = Field(
        default=12,
        gt=0,
        le=720,
        description="A signed-in person must sign in again after this time.",
    )
    idle_minutes: float = Field(
        default=30,
        gt=0,
        le=10080,
        description="A session unused for this long ends (automatic logoff).",
    )
    max_connections: int = Field(
        default=1000, ge=10, description="Connections at once; one more is answered 503."
    )
    max_per_address: int = Field(
        default=0,
        ge=0,
        description="Connections at once from one address (of IPv6: from one /64), trusted "
        "proxies excepted; 0: half of `max_connections`.",
    )
    max_body_bytes: int = Field(
        default=1 << 36, ge=1 << 20, description="Largest request body for DICOMweb store (64 GiB)."
    )
    header_seconds: float = Field(
        default=30, gt=0, description="A request whose header is not complete by then is dropped."
    )
    body_idle_seconds: float = Field(
        default=60,
        gt=0,
        description="An upload that sends nothing, or a download that takes nothing, for this long "
        "is dropped.",
    )
    keep_alive_seconds: int = Field(
        default=75, ge=1, description="How long an idle connection is kept for the next request."
    )

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, text: str) -> str:
        if text and not text.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return text.rstrip("/")

    @property
    def secure(self) -> bool:
        """Whether people reach us over HTTPS, here or at a proxy in front."""
        return self.tls_certificate is not None or self.public_url.startswith("https://")


class SecuritySettings(Section):
    """`[security]`: accounts, passwords, sign-in."""

    admin_password: SecretStr | None = Field(
        default=None,
        description="Password of the first administrator `admin`, used on the first start only. "
        "Without it one is made and printed once.",
        json_schema_extra={"secret": True},
    )
    min_password_length: int = Field(
        default=10, ge=8, le=128, description="Shortest password that people may choose."
    )
    lockout_failures: int = Field(
        default=5, ge=1, description="Failed sign-ins of one user from one address before a pause."
    )
    lockout_seconds: float = Field(
        default=30, gt=0, description="Length of the first pause; it doubles up to fifteen minutes."
    )
    address_failures_per_minute: int = Field(
        default=30,
        ge=1,
        description="Failed sign-ins per minute from one address, whoever it says it is.",
    )
