//! TLS for MLLP (IHE ATNA: TLS 1.2 and 1.3): the listener's certificate, and the authority its clients' certificates must come from; and the
//! same as a client needs it. Read at start; a file that cannot be used stops the start. Keys reach no log and no message.

use rustls::client::verify_server_name;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, rustls};

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
    #[error("{0}: no name that a certificate can be for")]
    Name(String),
}

/// What a client needs, as flags: PEM files. Without authorities it speaks in clear.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ClientTlsFiles {
    /// Speak TLS, with a listener whose certificate is of one of these authorities (PEM).
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// The client's own certificate, the chain after it (PEM).
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The name that the listener's certificate must be for, where it is not the host.
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    pub tls_name: Option<String>,
}

/// How a client speaks TLS with one listener.
pub struct ClientTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl ClientTls {
    /// Shakes hands.
    ///
    /// # Errors
    /// The connection breaks, or the certificate is none of the authorities for this name.
    pub async fn connect(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

impl ClientTlsFiles {
    /// Reads the files, for a listener at `host:port`. `None`: in clear.
    ///
    /// # Errors
    /// The file that is missing or unusable, or a host that is none.
    pub fn client(&self, address: &str) -> Result<Option<ClientTls>, TlsError> {
        let Some(authorities) = &self.tls_ca else {
            return Ok(None);
        };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = self.tls_name.clone().unwrap_or(host);
        let name = ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(authorities, &error))?
            .with_root_certificates(roots(authorities)?);
        let config = match (&self.tls_cert, &self.tls_key) {
            (Some(own), Some(key)) => builder
                .with_client_auth_cert(certificates(own)?, private_key(key)?)
                .map_err(|error| unusable(key, &error))?,
            _ => builder.with_no_client_auth(),
        };
        let connector = TlsConnector::from(Arc::new(config));
        Ok(Some(ClientTls { connector, name }))
    }
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
                let roots = Arc::new(roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = verifier.build().map_err(|error| unusable(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key = private_key(&self.key)?;
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

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path)? {
        roots
            .add(authority)
            .map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| file(path, &error))
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
