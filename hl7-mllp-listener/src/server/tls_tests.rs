//! TLS over real sockets: who may connect, and for whom it may speak.

use super::tests::{listen_as, message, quick, read_answers};
use super::*;
use crate::client;
use crate::tls::{ClientTlsFiles, TlsFiles};
use clap::Parser;
use rustls::pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn file(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    folder.join("tests/certificates").join(name)
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(&format!("{name}.pem"))).unwrap()
}

/// What a client with this certificate, or none, is answered; empty: it is not let in.
async fn said(address: SocketAddr, client: Option<&str>, sender: &str) -> Vec<String> {
    let own = |extension: &str| client.map(|name| file(&format!("{name}.{extension}")));
    let files = ClientTlsFiles {
        tls_ca: Some(file("authority.pem")),
        tls_cert: own("pem"),
        tls_key: own("key"),
        tls_name: None,
    };
    let tls = files.client("server.example.org:2575").unwrap().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let Ok(mut stream) = tls.connect(stream).await else {
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

/// `send` of the command lines.
#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    send: client::SendFiles,
}

#[tokio::test]
async fn files_are_sent_over_tls() {
    let tls = tls(Some("authority.pem"));
    let listener = listen_as(quick(), tls, Admission::default()).await;
    let saved = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(saved.path(), message("0", "1")).unwrap();
    let (address, path) = (listener.address.to_string(), saved.path().to_str().unwrap());
    let authority = format!("--tls-ca={}", file("authority.pem").display());
    let authority = authority.as_str();
    let certificate = |name: &str| {
        let (own, key) = (file(&format!("{name}.pem")), file(&format!("{name}.key")));
        [
            format!("--tls-cert={}", own.display()),
            format!("--tls-key={}", key.display()),
        ]
    };
    let (lab, stranger) = (certificate("lab"), certificate("stranger"));
    let name = "--tls-name=server.example.org";
    for (arguments, is_sent) in [
        (vec![authority, name, &lab[0], &lab[1]], true),
        (vec![authority, name, &stranger[0], &stranger[1]], false),
        (vec![authority, name], false),
        // The certificate is not for 127.0.0.1.
        (vec![authority, &lab[0], &lab[1]], false),
        (vec![], false),
    ] {
        let program = ["send", "--timeout-seconds=5", &address, path];
        let line = program.iter().chain(&arguments);
        let mut out = Vec::new();
        let sent = CommandLine::parse_from(line).send.run(&mut out).await;
        assert_eq!(sent.is_ok_and(|sent| sent), is_sent, "{arguments:?}");
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.contains("\tAA\t1\t"), is_sent, "{out}");
    }
    for halves in [
        &["--tls-cert=c", "--tls-ca=a"][..],
        &["--tls-key=k"],
        &["--tls-cert=c", "--tls-key=k"],
    ] {
        let line = ["send", "h:1", "f"].iter().chain(halves);
        assert!(CommandLine::try_parse_from(line).is_err(), "{halves:?}");
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
