//! Who may be at the other end of TLS: the library's own judgement, and for a certificate that it does not take for want of
//! an issuer, whether that vouches for itself. It never takes what the library refuses.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

/// Nobody but the certificate itself vouches for it.
#[derive(Debug)]
pub(super) struct SelfSigned;

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the certificate is self-signed")
    }
}

impl std::error::Error for SelfSigned {}

/// See the module.
#[derive(Debug)]
pub(super) struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// One that trusts `roots`, which must not be empty.
    pub(super) fn new(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Verifier, VerifierBuilderError> {
        let provider = Arc::clone(provider);
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        Ok(Verifier { inner, provider })
    }

    /// Whether a certificate would be good, but perhaps for its name, if it were itself a root.
    fn vouches_for_itself(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> bool {
        let mut roots = RootCertStore::empty();
        if roots.add(certificate.clone().into_owned()).is_err() {
            return false;
        }
        let Ok(alone) = Verifier::new(roots, &self.provider) else { return false };
        match alone.inner.verify_server_cert(certificate, &[], name, &[], now) {
            Ok(_) => true,
            Err(Error::InvalidCertificate(fault)) => {
                matches!(fault, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
            }
            Err(_) => false,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let res = self.inner.verify_server_cert(certificate, intermediates, name, ocsp, now);
        if matches!(res, Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)))
            && self.vouches_for_itself(certificate, name, now)
        {
            return Err(CertificateError::Other(OtherError(Arc::new(SelfSigned))).into());
        }
        res
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
