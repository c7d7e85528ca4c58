//! Listeners and who may send on them: a YAML file with one item for each address. Refuses unknown keys, by line.
//!
//! ```yaml
//! - address: 0.0.0.0:2575
//!   senders: [HIS.GENHOSP, LAB.GENHOSP]       # MSH-3.MSH-4 that may send here; without it all may
//!   processing_ids: [P]                       # MSH-11; without it all are taken
//!   policy: HIS.GENHOSP                       # the file in senders/ for those who have none
//!   reply_to: his.example.org:2600            # where acknowledgements by MSH-16 go; without it they follow on the connection
//!   tls: { certificate: server.pem, key: server.key, client_authorities: clients.pem }
//!   certificates:                             # whom a client certificate may speak for; others may not send
//!     lab.example.org: [LAB.GENHOSP]
//!     "sha256:0f1e…": [HIS.GENHOSP]
//! ```
//!
//! Paths are relative to the file. A message that may not be sent here is answered AR and kept nowhere.

use crate::ack::{AnswerError, ErrorCode, Location};
use crate::header::Header;
use crate::mapping::yaml::{self, Fault, Node};
use crate::server::Entrance;
use crate::tls::{TlsFiles, is_certificate};
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_rustls::rustls;

/// Most listeners of a file.
const MAX_LISTENERS: usize = 64;

/// One address that messages come in on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub address: SocketAddr,
    pub tls: Option<TlsFiles>,
    pub admission: Admission,
    /// Where the application's acknowledgements of enhanced mode go, `host:port`; without it they follow on the connection.
    pub reply_to: Option<String>,
}

/// Who may send: everybody, as long as nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// `MSH-3.1` and `MSH-4.1` with a dot between.
    senders: Option<Vec<String>>,
    /// The name of a client certificate, and the senders it may speak for.
    certificates: Vec<(String, Vec<String>)>,
    /// MSH-11.1: P, T or D.
    processing_ids: Option<Vec<String>>,
    /// The sender whose policy holds for those without one.
    policy: Option<Arc<str>>,
}

impl Listener {
    /// One that takes everything.
    pub fn open(address: SocketAddr, tls: Option<TlsFiles>) -> Listener {
        Listener {
            address,
            tls,
            admission: Admission::default(),
            reply_to: None,
        }
    }

    /// The one at an address of its own, if there is to be one, and those of a file.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn all(
        own: Option<SocketAddr>,
        tls: Option<TlsFiles>,
        file: Option<&Path>,
    ) -> Result<Vec<Listener>, String> {
        let own = own.map(|address| Listener::open(address, tls));
        let further = file.map(Listener::read_file).transpose()?;
        let further = further.unwrap_or_default();
        Ok(own.into_iter().chain(further).collect())
    }

    /// The listeners of a file.
    ///
    /// # Errors
    /// The first mistake, with the file and the line.
    pub fn read_file(path: &Path) -> Result<Vec<Listener>, String> {
        let named = |line: usize, reason: &str| format!("{}:{line}: {reason}", path.display());
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Listener::read(&bytes, folder).map_err(|fault| named(fault.line, &fault.reason))
    }

    /// Lets it take the connections of a socket that listens.
    ///
    /// # Errors
    /// A certificate that cannot be used.
    pub fn on(&self, listener: TcpListener) -> Result<Entrance, String> {
        let tls = self.tls.as_ref().map(TlsFiles::acceptor).transpose();
        Ok(Entrance {
            listener,
            tls: tls.map_err(|error| error.to_string())?,
            admission: self.admission.clone(),
            reply_to: self.reply_to.clone(),
        })
    }

    fn read(bytes: &[u8], folder: &Path) -> Result<Vec<Listener>, Fault> {
        let node = yaml::parse(bytes)?;
        let items = node.list()?;
        if items.len() > MAX_LISTENERS {
            let why = format!("more than {MAX_LISTENERS} listeners");
            return Err(Fault::new(node.line, why));
        }
        items.iter().map(|item| listener(item, folder)).collect()
    }
}

impl Admission {
    #[cfg(test)]
    pub fn with_policy(sender: &str) -> Admission {
        Admission {
            policy: Some(sender.into()),
            ..Admission::default()
        }
    }

    /// For a connection: what its client certificate leaves of it. `None`: it is no certificate of a sender.
    pub fn of_client(&self, certificate: Option<&CertificateDer<'_>>) -> Option<Admission> {
        if self.certificates.is_empty() {
            return Some(self.clone());
        }
        let certificate = certificate?;
        let named = self
            .certificates
            .iter()
            .filter(|(name, _)| is_certificate(certificate, name));
        let of_certificate: Vec<&String> = named.flat_map(|(_, senders)| senders).collect();
        let may = |sender: &&String| self.senders.as_ref().is_none_or(|all| all.contains(sender));
        let senders: Vec<String> = of_certificate.into_iter().filter(may).cloned().collect();
        (!senders.is_empty()).then(|| Admission {
            senders: Some(senders),
            ..self.clone()
        })
    }

    /// Why the sender of a message may not send here; `None`: it may.
    pub fn refused_sender(&self, message: &[u8]) -> Option<AnswerError> {
        let sender = Header::read(message).map(|header| header.sender());
        let may = |all: &Vec<String>| sender.is_some_and(|sender| all.contains(&sender));
        let location = Some(Location::field("MSH", 3));
        let text = "this sender may not send here";
        (!self.senders.as_ref().is_none_or(may))
            .then(|| AnswerError::error(ErrorCode::TableValue, location, text))
    }

    /// Why a message of a sender who may send here is not taken; `None`: it is.
    pub fn refused_message(&self, message: &[u8]) -> Option<AnswerError> {
        let id = Header::read(message).map(|header| header.component(11, 1));
        // Without one it is production; what has no header is refused for that.
        let id = id.filter(|id| !id.is_empty()).unwrap_or("P".to_owned());
        let location = Some(Location::field("MSH", 11));
        let text = "messages with this processing id are not taken here";
        (!self
            .processing_ids
            .as_ref()
            .is_none_or(|all| all.contains(&id)))
        .then(|| AnswerError::error(ErrorCode::UnsupportedProcessingId, location, text))
    }

    /// The sender whose policy holds for those without one.
    pub fn policy(&self) -> Option<&Arc<str>> {
        self.policy.as_ref()
    }
}

fn listener(node: &Node, folder: &Path) -> Result<Listener, Fault> {
    let mut address = None;
    let (mut tls, mut admission, mut reply_to) = (None, Admission::default(), None);
    for entry in node.map()? {
        let node = &entry.node;
        match entry.key.as_str() {
            "address" => {
                let parsed = node.text()?.parse();
                let why = "address: an IP address and a port, as 0.0.0.0:2575";
                address = Some(parsed.map_err(|_| Fault::new(node.line, why))?);
            }
            "tls" => tls = Some(tls_files(node, folder)?),
            "senders" => admission.senders = Some(senders(node)?),
            "processing_ids" => admission.processing_ids = Some(node.texts()?),
            "reply_to" => reply_to = Some(host_and_port(node)?),
            "policy" => admission.policy = Some(node.text()?.into()),
            "certificates" => {
                for named in node.map()? {
                    admission
                        .certificates
                        .push((named.key.clone(), senders(&named.node)?));
                }
            }
            _ => return Err(entry.unknown()),
        }
    }
    let has_client_tls = |tls: &TlsFiles| tls.client_authorities.is_some();
    if !admission.certificates.is_empty() && !tls.as_ref().is_some_and(has_client_tls) {
        let why = "certificates: they are asked for only with tls and its client_authorities";
        return Err(Fault::new(node.line, why));
    }
    Ok(Listener {
        address: address.ok_or_else(|| Fault::new(node.line, "`address` is missing"))?,
        tls,
        admission,
        reply_to,
    })
}

fn host_and_port(node: &Node) -> Result<String, Fault> {
    let text = node.text()?;
    let parts = text.rsplit_once(':');
    let is_address = |(host, port): (&str, &str)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    match parts.is_some_and(is_address) {
        true => Ok(text.to_owned()),
        false => {
            let why = "reply_to: a host and a port, as his.example.org:2600";
            Err(Fault::new(node.line, why))
        }
    }
}

fn tls_files(node: &Node, folder: &Path) -> Result<TlsFiles, Fault> {
    let (mut certificate, mut key, mut client_authorities) = (None, None, None);
    for entry in node.map()? {
        let path = Some(folder.join(entry.node.text()?));
        match entry.key.as_str() {
            "certificate" => certificate = path,
            "key" => key = path,
            "client_authorities" => client_authorities = path,
            _ => return Err(entry.unknown()),
        }
    }
    let tls = TlsFiles::of(certificate, key, client_authorities);
    tls.ok()
        .flatten()
        .ok_or_else(|| Fault::new(node.line, "tls needs `certificate` and `key`"))
}

fn senders(node: &Node) -> Result<Vec<String>, Fault> {
    let mut senders = Vec::new();
    for item in node.list()? {
        let sender = item.text()?;
        if !sender.contains('.') {
            let why = "a sender is MSH-3.1 and MSH-4.1 with a dot between, as HIS.GENHOSP";
            return Err(Fault::new(item.line, why));
        }
        senders.push(sender.to_owned());
    }
    Ok(senders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, expect: Result<usize, &str>) {
        let found = Listener::read(yaml.as_bytes(), Path::new("/etc"));
        let found = found.map(|all| all.len());
        let found = found.map_err(|fault| format!("{}: {}", fault.line, fault.reason));
        assert_eq!(found, expect.map_err(str::to_owned), "{yaml}");
    }

    #[test]
    fn listeners_are_data() {
        check(
            "- address: 127.0.0.1:1\n- address: '[::1]:2'\n  senders: [A.B]\n",
            Ok(2),
        );
        check("- senders: [A.B]", Err("1: `address` is missing"));
        check(
            "- address: localhost:1",
            Err("1: address: an IP address and a port, as 0.0.0.0:2575"),
        );
        check(
            "- address: 127.0.0.1:1\n  sender: A.B",
            Err("2: unknown key `sender`"),
        );
        check(
            "- address: 127.0.0.1:1\n  senders: [AB]",
            Err("2: a sender is MSH-3.1 and MSH-4.1 with a dot between, as HIS.GENHOSP"),
        );
        check(
            "- address: 127.0.0.1:1\n  reply_to: '[::1]:2600'\n- address: 127.0.0.1:2\n  reply_to: his.example.org:2600",
            Ok(2),
        );
        check(
            "- address: 127.0.0.1:1\n  reply_to: his.example.org",
            Err("2: reply_to: a host and a port, as his.example.org:2600"),
        );
        check(
            "- address: 127.0.0.1:1\n  tls: {key: k}",
            Err("2: tls needs `certificate` and `key`"),
        );
        check(
            "- address: 127.0.0.1:1\n  certificates: {a: [A.B]}",
            Err("1: certificates: they are asked for only with tls and its client_authorities"),
        );
        let all = Listener::read(
            b"- address: 127.0.0.1:1\n  tls: {certificate: c, key: /k}",
            Path::new("/etc"),
        );
        let tls = all.unwrap().remove(0).tls.unwrap();
        assert_eq!(
            (tls.certificate.to_str(), tls.key.to_str()),
            (Some("/etc/c"), Some("/k"))
        );
    }

    #[test]
    fn a_listener_admits_its_senders() {
        let admission = |senders: Option<&[&str]>| Admission {
            senders: senders.map(|all| all.iter().map(|&s| s.to_owned()).collect()),
            ..Admission::default()
        };
        for (senders, message, expect) in [
            (None, "garbage", true),
            (Some(&["A.B"][..]), "MSH|^~\\&|A^x|B", true),
            (Some(&["A.B"][..]), "MSH|^~\\&|A|C", false),
            (Some(&["A."][..]), "MSH|^~\\&|A", true),
            (Some(&["A.B"][..]), "garbage", false),
            (Some(&[][..]), "MSH|^~\\&|A|B", false),
        ] {
            let refused = admission(senders).refused_sender(message.as_bytes());
            assert_eq!(refused.is_none(), expect, "{senders:?} {message}");
        }
        let production = Admission {
            processing_ids: Some(vec!["P".to_owned()]),
            ..Admission::default()
        };
        for (id, expect) in [("P", None), ("", None), ("T", Some("202")), ("P^T", None)] {
            let message = format!("MSH|^~\\&|A|B|||||ADT|1|{id}|2.5");
            let refused = production.refused_message(message.as_bytes());
            assert_eq!(refused.map(|error| error.code.code().0), expect, "{id}");
        }
    }
}
