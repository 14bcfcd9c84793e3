//! TLS settings and what TLS faults mean: which roots are trusted, and why a peer was not.
//! Verification is never switched off.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use super::verifier::{SelfSigned, Verifier};

/// Where Debian, Alpine, Buildroot and most others keep the bundle of trusted roots.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why no encrypted connection came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// The certificate is out of date.
    Expired,
    /// The certificate is not valid yet, which is also what a meter says whose clock is behind.
    NotYetValid,
    /// The certificate is for other names; these.
    WrongName(String),
    /// Nobody who is trusted vouches for the certificate.
    UnknownIssuer,
    /// Nobody but the certificate itself vouches for it.
    SelfSigned,
    /// The certificate is that of an authority, as self-signed ones often are; no server may use such a one.
    Authority,
    /// Another fault of the certificate.
    Certificate(String),
    /// The other side refused, with this alert.
    Alert(String),
    /// What came is no TLS at all.
    NotTls,
    /// The two sides have no version or cipher in common.
    Incompatible(String),
    /// The name of the host is none that a certificate could have.
    BadName(String),
    /// The bundle of trusted roots is of no use.
    Roots(String),
    /// Any other fault.
    Other(String),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TLS: ")?;
        match self {
            TlsFault::Expired => f.write_str("the certificate has expired (or the meter's clock is ahead)"),
            TlsFault::NotYetValid => f.write_str("the certificate is not valid yet (or the meter's clock is behind)"),
            TlsFault::WrongName(text) => write!(f, "the certificate is for another name: {text}"),
            TlsFault::UnknownIssuer => f.write_str("the certificate is of an issuer that the meter does not trust"),
            TlsFault::SelfSigned => f.write_str("the certificate is self-signed"),
            TlsFault::Authority => f.write_str("the certificate is an authority's own, which no server may use"),
            TlsFault::Certificate(text) => write!(f, "the certificate is not acceptable: {text}"),
            TlsFault::Alert(text) => write!(f, "the other side refused: {text}"),
            TlsFault::NotTls => f.write_str("the other side does not speak TLS on this port"),
            TlsFault::Incompatible(text) => write!(f, "the other side is too old or too different: {text}"),
            TlsFault::BadName(name) => write!(f, "{name} is no name that a certificate can have"),
            TlsFault::Roots(text) | TlsFault::Other(text) => f.write_str(text),
        }
    }
}

impl From<rustls::Error> for TlsFault {
    fn from(err: rustls::Error) -> Self {
        use rustls::Error;
        match err {
            Error::InvalidCertificate(fault) => certificate(fault),
            Error::AlertReceived(alert) => TlsFault::Alert(format!("{alert:?}")),
            Error::InvalidMessage(_) => TlsFault::NotTls,
            Error::PeerIncompatible(why) => TlsFault::Incompatible(format!("{why:?}")),
            other => TlsFault::Other(other.to_string()),
        }
    }
}

fn certificate(fault: CertificateError) -> TlsFault {
    use CertificateError as E;
    match fault {
        E::Expired | E::ExpiredContext { .. } => TlsFault::Expired,
        E::NotValidYet | E::NotValidYetContext { .. } => TlsFault::NotYetValid,
        E::UnknownIssuer => TlsFault::UnknownIssuer,
        E::NotValidForNameContext { expected, presented } => {
            let expected = expected.to_str().into_owned();
            // The names are the other side's words; a few are enough for a person to see what is wrong.
            let presented = presented.iter().take(4).map(|it| it.as_str()).collect::<Vec<_>>().join(", ");
            TlsFault::WrongName(format!("wanted {expected}, it has {presented}"))
        }
        E::NotValidForName => TlsFault::WrongName("it has none that matches".into()),
        E::Other(other) if other.0.is::<SelfSigned>() => TlsFault::SelfSigned,
        // The library has no name of its own for this one and passes on that of another library.
        E::Other(other) if other.to_string() == "CaUsedAsEndEntity" => TlsFault::Authority,
        other => TlsFault::Certificate(other.to_string()),
    }
}

/// The name that a certificate must have; a literal address is one too.
pub(super) fn server_name(host: &str) -> Result<ServerName<'static>, TlsFault> {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    let wrong = |_: InvalidDnsNameError| TlsFault::BadName(host.into());
    ServerName::try_from(host).map(|it| it.to_owned()).map_err(wrong)
}

/// A client that trusts the roots in `bundle`; without one, those of the system, and without these the built-in ones.
pub(super) fn client(bundle: Option<&Path>) -> Result<Arc<ClientConfig>, TlsFault> {
    let roots = match bundle {
        Some(path) => {
            let fail = |text: String| TlsFault::Roots(format!("tls.ca_file: {}: {text}", path.display()));
            let roots = read(path).map_err(|err| fail(err.to_string()))?;
            if roots.is_empty() {
                return Err(fail("there is no usable certificate in it".into()));
            }
            roots
        }
        None => match read(Path::new(SYSTEM_BUNDLE)) {
            Ok(roots) if !roots.is_empty() => roots,
            _ => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        },
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(roots, &provider).map_err(|err| TlsFault::Roots(err.to_string()))?;
    let mut res = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous() // Anything but the library's own verifier is, in its words; ours asks that one.
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // Connections are rare and the memory of what was once negotiated is worth more than a round trip.
    res.resumption = Resumption::disabled();
    Ok(Arc::new(res))
}

/// The certificates of a PEM file; those that this library cannot use are left out, as every bundle has some.
fn read(path: &Path) -> io::Result<RootCertStore> {
    let other = |err: pem::Error| match err {
        pem::Error::Io(err) => err,
        err => io::Error::other(err.to_string()),
    };
    let mut res = RootCertStore::empty();
    for it in CertificateDer::pem_file_iter(path).map_err(other)? {
        // One at a time, so that the file is never in memory as a whole.
        res.add_parsable_certificates([it.map_err(other)?]);
    }
    Ok(res)
}
