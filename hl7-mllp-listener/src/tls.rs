//! TLS for MLLP (IHE ATNA: TLS 1.2 and 1.3): the listener's certificate, and the authority its clients' certificates must come from.
//! Read at start; a file that cannot be used stops the start. Keys reach no log and no message.

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::{TlsAcceptor, rustls};

/// Where the certificates of a listener are: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its own, the chain after it.
    pub certificate: PathBuf,
    /// The key of the first certificate.
    pub key: PathBuf,
    /// Authorities: a client needs a certificate from one of them. Without it clients need none.
    pub client_authorities: Option<PathBuf>,
}

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("{path}: this is not the key of the certificate, or not usable: {reason}")]
    Unusable { path: PathBuf, reason: String },
}

impl TlsFiles {
    /// From settings of their own: none, or a certificate with its key.
    ///
    /// # Errors
    /// Half of it is missing.
    pub fn of(
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
        client_authorities: Option<PathBuf>,
    ) -> Result<Option<TlsFiles>, String> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
                certificate,
                key,
                client_authorities,
            })),
            (None, None) if client_authorities.is_none() => Ok(None),
            _ => Err("TLS needs both a certificate and its key".to_owned()),
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// The file that is missing or unusable.
    pub fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&self.certificate, &error))?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path)? {
                    roots
                        .add(authority)
                        .map_err(|error| unusable(path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier = verifier.build().map_err(|error| unusable(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key =
            PrivateKeyDer::from_pem_file(&self.key).map_err(|error| file(&self.key, &error))?;
        let config = builder
            .with_single_cert(certificates(&self.certificate)?, key)
            .map_err(|error| unusable(&self.key, &error))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Whether a certificate is the one that is named: by `sha256:` and its fingerprint in hexadecimal, or by a DNS name it is for.
pub fn is_certificate(certificate: &CertificateDer<'_>, name: &str) -> bool {
    if let Some(fingerprint) = name.strip_prefix("sha256:") {
        let own = Sha256::digest(certificate);
        let own: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
        return own.eq_ignore_ascii_case(&fingerprint.replace(':', ""));
    }
    let (Ok(parsed), Ok(name)) = (
        ParsedCertificate::try_from(certificate),
        ServerName::try_from(name),
    ) else {
        return false;
    };
    verify_server_name(&parsed, &name).is_ok()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| file(path, &error))?;
    let all: Result<Vec<_>, _> = read.collect();
    match all.map_err(|error| file(path, &error))? {
        none if none.is_empty() => Err(file(path, &"there is no certificate in it")),
        all => Ok(all),
    }
}

fn file(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::File {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> TlsError {
    TlsError::Unusable {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
