"""The TLS checks of `doctor`: protocol versions, the certificate's end, its chain and its names, and a grade."""

from __future__ import annotations

import datetime
import socket
import ssl
import warnings
from collections.abc import Iterator

from ..client.target import Target
from .findings import CERTIFICATE_FIX, TLS_VERSIONS_FIX, CheckFinding, Verdict
from .raw import TIMEOUT_SECONDS, any_certificate

SHORT_DAYS = 14.0
"""A certificate that ends sooner is a warning: renewals are due a month before the end."""

VERSIONS = {
    "TLSv1.0": ssl.TLSVersion.TLSv1, "TLSv1.1": ssl.TLSVersion.TLSv1_1, "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}  # fmt: skip

OLD = ("TLSv1.0", "TLSv1.1")


def check_tls(target: Target, trusted: ssl.SSLContext) -> Iterator[CheckFinding]:
    """All findings about a secure target. `trusted` verifies certificates."""
    spoken = [name for name, version in VERSIONS.items() if speaks(target, version)]
    problem = certificate_problem(target, trusted)
    days, names = certificate_of(target)
    yield versions_finding(spoken)
    yield certificate_finding(problem, days, names)
    grade = grade_of(spoken, problem, days)
    verdict = Verdict.GOOD if grade == "A" else Verdict.WARNING if grade in "BC" else Verdict.PROBLEM
    yield CheckFinding("tls grade", verdict, f"grade {grade}", values={"grade": grade})


def speaks(target: Target, version: ssl.TLSVersion) -> bool:
    """Whether the server takes this version, and offers it with any cipher at all."""
    context = any_certificate()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are asked for on purpose
        context.minimum_version = context.maximum_version = version
    if version < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("ALL:@SECLEVEL=0")
    try:
        with _connected(target) as plain, context.wrap_socket(plain, server_hostname=target.host):
            return True
    except OSError:
        return False


def _connected(target: Target) -> socket.socket:
    return socket.create_connection((target.host, target.port), TIMEOUT_SECONDS)


def certificate_problem(target: Target, trusted: ssl.SSLContext) -> str | None:
    """The reason why clients refuse the certificate; None if they take it."""
    try:
        with _connected(target) as plain, trusted.wrap_socket(plain, server_hostname=target.host):
            return None
    except ssl.SSLCertVerificationError as error:
        return error.verify_message or str(error)
    except OSError as error:
        return error.strerror or str(error)


def certificate_of(target: Target) -> tuple[float | None, list[str]]:
    """The days until the certificate's end, and its names, whether it is valid or not."""
    from cryptography import x509

    try:
        with _connected(target) as plain, any_certificate().wrap_socket(plain, server_hostname=target.host) as secure:
            content = secure.getpeercert(binary_form=True)
    except OSError:
        return None, []
    if content is None:
        return None, []
    found = x509.load_der_x509_certificate(content)
    left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return left.total_seconds() / 86400, []
    shown = [*names.get_values_for_type(x509.DNSName), *(str(address) for address in names.get_values_for_type(x509.IPAddress))]
    return left.total_seconds() / 86400, shown


def versions_finding(spoken: list[str]) -> CheckFinding:
    """About the protocol versions that the server speaks."""
    values = {"versions": spoken}
    listed = ", ".join(spoken) or "no version of TLS"
    if old := [name for name in spoken if name in OLD]:
        return CheckFinding("tls versions", Verdict.PROBLEM, f"the server speaks {listed}: {old[0]} is broken", TLS_VERSIONS_FIX, values)
    if "TLSv1.3" not in spoken:
        return CheckFinding("tls versions", Verdict.WARNING, f"the server speaks {listed}, and not TLSv1.3", TLS_VERSIONS_FIX, values)
    return CheckFinding("tls versions", Verdict.GOOD, f"the server speaks {listed}", values=values)


def certificate_finding(problem: str | None, days: float | None, names: list[str]) -> CheckFinding:
    """About the certificate: chain, names and end."""
    values: dict[str, object] = {"days": None if days is None else round(days, 2), "names": names}
    if problem is not None:
        text = f"clients refuse the certificate: {problem}"
        if "local issuer" in problem:
            text += "; the file with the certificate lacks the intermediate ones, or its authority is not public"
        elif "mismatch" in problem or "not valid for" in problem:
            text += f"; its names are {', '.join(names) or 'none'}"
        return CheckFinding("certificate", Verdict.PROBLEM, text, CERTIFICATE_FIX, values)
    if days is not None and days < SHORT_DAYS:
        return CheckFinding("certificate", Verdict.WARNING, f"the certificate ends in {days:.1f} days: renew it", CERTIFICATE_FIX, values)
    shown = "" if days is None else f" for {days:.0f} more days"
    return CheckFinding("certificate", Verdict.GOOD, f"the certificate is valid{shown}", values=values)


def grade_of(spoken: list[str], problem: str | None, days: float | None) -> str:
    """A: all is well. B: no TLSv1.3, or the certificate ends soon. C: old versions. F: clients refuse the certificate."""
    if problem is not None or not spoken:
        return "F"
    if any(name in OLD for name in spoken):
        return "C"
    return "B" if "TLSv1.3" not in spoken or (days is not None and days < SHORT_DAYS) else "A"
