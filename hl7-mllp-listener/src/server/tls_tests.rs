//! TLS over real sockets: who may connect, and for whom it may speak.

use super::tests::{listen_as, message, quick, read_answers};
use super::*;
use crate::tls::TlsFiles;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.join("tests/certificates").join(name)
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(&format!("{name}.pem"))).unwrap()
}

/// What a client with this certificate, or none, is answered; empty: it is not let in.
async fn said(address: SocketAddr, client: Option<&str>, sender: &str) -> Vec<String> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate("authority")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).unwrap();
            let chain = vec![certificate(name)];
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("server.example.org").unwrap();
    let Ok(mut stream) = connector.connect(name, stream).await else {
        return Vec::new();
    };
    // In TLS 1.3 a client learns only by reading that its certificate was refused.
    let _ = stream.write_all(message(sender, "1").as_bytes()).await;
    read_answers(&mut stream, 1).await
}

fn tls(client_authorities: Option<&str>) -> Option<TlsAcceptor> {
    let files = TlsFiles {
        certificate: file("server.pem"),
        key: file("server.key"),
        client_authorities: client_authorities.map(file),
    };
    Some(files.acceptor().unwrap())
}

#[tokio::test]
async fn messages_come_over_tls_and_not_in_clear() {
    let listener = listen_as(quick(), tls(None), Admission::default()).await;
    assert_eq!(said(listener.address, None, "0").await, ["AA|1"]);
    let mut clear = TcpStream::connect(listener.address).await.unwrap();
    clear.write_all(message("0", "1").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = clear.read_to_end(&mut answer).await;
    assert!(!answer.contains(&0x0b), "answered in clear");
}

#[tokio::test]
async fn clients_need_a_certificate_where_authorities_are_named() {
    let tls = tls(Some("authority.pem"));
    let listener = listen_as(quick(), tls, Admission::default()).await;
    for (client, expect) in [
        (Some("lab"), &["AA|1"][..]),
        (Some("stranger"), &[]),
        (None, &[]),
    ] {
        assert_eq!(
            said(listener.address, client, "0").await,
            expect,
            "{client:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_speaks_for_its_senders_alone() {
    let fingerprint = <sha2::Sha256 as sha2::Digest>::digest(certificate("other"));
    let fingerprint: String = fingerprint
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let yaml = format!(
        "- address: 127.0.0.1:0\n  tls: {{certificate: c, key: k, client_authorities: a}}\n  certificates:\n    \
         lab.example.org: ['0.']\n    'sha256:{fingerprint}': ['1.', '2.']\n  senders: ['0.', '2.']\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listeners.yaml");
    std::fs::write(&path, yaml).unwrap();
    let admission = crate::listeners::Listener::read_file(&path)
        .unwrap()
        .remove(0)
        .admission;
    let listener = listen_as(quick(), tls(Some("authority.pem")), admission).await;
    for (client, sender, expect) in [
        ("lab", "0", &["AA|1"][..]),
        ("lab", "2", &["AR|1"]),
        ("other", "2", &["AA|1"]),
        ("other", "0", &["AR|1"]),
        // Named by its certificate, and not by the listener.
        ("other", "1", &["AR|1"]),
        // Of the authority, and named nowhere.
        ("server", "0", &[]),
    ] {
        let found = said(listener.address, Some(client), sender).await;
        let found: Vec<String> = found
            .iter()
            .map(|msa| msa.split('|').take(2).collect::<Vec<_>>().join("|"))
            .collect();
        assert_eq!(found, expect, "{client} {sender}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    for (certificate, key, expect) in [
        ("nowhere.pem", "server.key", "nowhere.pem"),
        ("server.pem", "nowhere.key", "nowhere.key"),
        ("server.key", "server.key", "there is no certificate in it"),
        ("server.pem", "lab.key", "lab.key"),
    ] {
        let files = TlsFiles {
            certificate: file(certificate),
            key: file(key),
            client_authorities: None,
        };
        let error = files.acceptor().err().unwrap().to_string();
        assert!(error.contains(expect), "{error}");
    }
}
