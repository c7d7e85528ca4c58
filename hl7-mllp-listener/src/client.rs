//! A small MLLP client, in clear or over TLS: one message, one acknowledgement, or two where the message asks for both in enhanced mode. An answer under
//! another control id, or none in time, ends the connection, since a late answer would be taken for the next message's.

use crate::ack::{AckCode, Condition, Mode};
use crate::batch::Batch;
use crate::codec::{FS, Frame, MllpCodec, VT};
use crate::header::Header;
use crate::tls::{ClientTls, ClientTlsFiles};
use bytes::{Bytes, BytesMut};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio_util::codec::{Decoder, Encoder};

/// Longest acknowledgement that is read, in bytes.
const MAX_ACK_BYTES: usize = 1024 * 1024;

/// Send the messages of files to an MLLP listener, and print what it answers; fails if one is not accepted.
#[derive(Clone, Debug, clap::Args)]
pub struct SendFiles {
    /// Host and port of the listener.
    address: String,
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Longest wait for an answer, in seconds.
    #[arg(long, default_value_t = 30)]
    timeout_seconds: u64,
    #[command(flatten)]
    tls: ClientTlsFiles,
}

/// One connection to an MLLP listener.
pub struct Client {
    stream: Box<dyn Stream>,
    codec: MllpCodec,
    buffer: BytesMut,
    timeout: Duration,
}

/// What MSA says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledgment {
    /// MSA-1.
    pub code: String,
    /// MSA-2.
    pub control_id: String,
    /// The ERR segments, as sent.
    pub errors: Vec<String>,
}

impl Acknowledgment {
    /// AA or CA.
    pub fn is_accept(&self) -> bool {
        let accepts = [AckCode::AA, AckCode::CA].map(AckCode::code);
        accepts.contains(&self.code.as_str())
    }
}

/// In clear or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl SendFiles {
    /// Sends the messages of each file over one connection, and writes a line for each: file, MSA-1, MSA-2, ERR segments. True if all were
    /// accepted.
    ///
    /// # Errors
    /// A file that cannot be read, or a message without an answer; the text names the file.
    pub async fn run(&self, out: &mut (dyn Write + Send)) -> Result<bool> {
        let timeout = Duration::from_secs(self.timeout_seconds);
        let tls = self.tls.client(&self.address).map_err(Error::other)?;
        let mut client = Client::connect_over(&self.address, tls.as_ref(), timeout).await?;
        let mut are_accepted = true;
        for file in &self.files {
            let named =
                |error: Error| Error::new(error.kind(), format!("{}: {error}", file.display()));
            for message in read_messages(file)? {
                let answer = client.exchange(message).await.map_err(named)?;
                are_accepted &= answer.is_accept();
                let (code, id, errors) = (answer.code, answer.control_id, answer.errors.join(" "));
                writeln!(out, "{}\t{code}\t{id}\t{errors}", file.display())?;
            }
        }
        Ok(are_accepted)
    }
}

/// The messages of a file, one by one: with or without MLLP frames, several one after the other, or a batch.
///
/// # Errors
/// The file cannot be read, holds nothing, or a batch that contradicts itself; the text names the file.
pub fn read_messages(file: &Path) -> Result<Vec<Bytes>> {
    let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", file.display()));
    let invalid = |why: &str| named(Error::new(ErrorKind::InvalidData, why));
    let mut messages = Vec::new();
    for frame in frames(file).map_err(named)? {
        match Batch::read(&frame) {
            None => messages.push(frame),
            Some(Batch {
                fault: Some(fault), ..
            }) => return Err(invalid(&fault.text)),
            Some(batch) => messages.extend(batch.messages().cloned()),
        }
    }
    messages.retain(|message| !message.trim_ascii().is_empty());
    match messages.is_empty() {
        true => Err(invalid("there is no message in it")),
        false => Ok(messages),
    }
}

/// The message of a file, whatever it is.
///
/// # Errors
/// The file cannot be read.
pub fn read_unframed(file: &Path) -> Result<Bytes> {
    Ok(frames(file)?.into_iter().next().unwrap_or_default())
}

/// What a file holds: files are often saved with their MLLP frames.
fn frames(file: &Path) -> Result<Vec<Bytes>> {
    let mut bytes = std::fs::read(file)?;
    if !bytes.contains(&VT) {
        bytes.insert(0, VT);
    }
    let mut codec = MllpCodec::new(bytes.len());
    // The last frame may lack its end.
    bytes.push(FS);
    let mut buffer = BytesMut::from(&bytes[..]);
    let mut frames = Vec::new();
    while let Some(Frame::Message(frame)) = codec.decode(&mut buffer)? {
        frames.push(frame);
    }
    Ok(frames)
}

impl Client {
    /// Connects in clear; every later wait is bounded by the timeout.
    ///
    /// # Errors
    /// Nobody listens there, or not in time.
    pub async fn connect(address: impl ToSocketAddrs, timeout: Duration) -> Result<Client> {
        Client::connect_over(address, None, timeout).await
    }

    /// Connects over TLS, where it is given; every later wait is bounded by the timeout.
    ///
    /// # Errors
    /// Nobody listens there, or not in time, or not the one that is meant.
    pub async fn connect_over(
        address: impl ToSocketAddrs,
        tls: Option<&ClientTls>,
        timeout: Duration,
    ) -> Result<Client> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok::<Box<dyn Stream>, Error>(match tls {
                Some(tls) => Box::new(tls.connect(stream).await?),
                None => Box::new(stream),
            })
        };
        let stream = tokio::time::timeout(timeout, connect).await??;
        Ok(Client {
            stream,
            codec: MllpCodec::new(MAX_ACK_BYTES),
            buffer: BytesMut::new(),
            timeout,
        })
    }

    /// Sends a message without its frame and waits for its acknowledgement; for the application's where it asks for both.
    pub async fn exchange(&mut self, message: Bytes) -> Result<Acknowledgment> {
        let header = Header::read(&message);
        let control_id = header.map(|header| header.field(10).into_owned());
        let control_id = control_id.unwrap_or_default();
        let asks_for_both = Mode::of(header.as_ref())
            == Mode::Enhanced {
                accept: Condition::Always,
                application: Condition::Always,
            };
        let mut frame = BytesMut::new();
        self.codec.encode(message, &mut frame)?;
        let (timeout, exchange) = (self.timeout, async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await?;
            let first = self.read_acknowledgment().await?;
            match asks_for_both && first.code == "CA" && first.control_id == control_id {
                true => self.read_acknowledgment().await,
                false => Ok(first),
            }
        });
        let acknowledgment = tokio::time::timeout(timeout, exchange).await??;
        if acknowledgment.control_id != control_id {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "MSA-2 is not the control id that was sent",
            ));
        }
        Ok(acknowledgment)
    }

    async fn read_acknowledgment(&mut self) -> Result<Acknowledgment> {
        loop {
            if let Some(frame) = self.codec.decode(&mut self.buffer)? {
                let Frame::Message(ack) = frame else {
                    return Err(Error::new(
                        ErrorKind::InvalidData,
                        "the acknowledgement is too long",
                    ));
                };
                return Acknowledgment::read(&ack)
                    .ok_or_else(|| Error::new(ErrorKind::InvalidData, "the answer has no MSA"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Error::new(
                    ErrorKind::UnexpectedEof,
                    "closed without an acknowledgement",
                ));
            }
        }
    }
}

impl Acknowledgment {
    /// From an ACK message; values byte for byte as Latin-1, as [`Header`] reads them.
    pub fn read(ack: &[u8]) -> Option<Acknowledgment> {
        let separator = char::from(Header::read(ack)?.separators.field);
        let text = encoding_rs::mem::decode_latin1(ack);
        let lines = || text.split(['\r', '\n']).map(str::trim_start);
        let msa: Vec<_> = lines()
            .find(|line| line.starts_with("MSA"))?
            .split(separator)
            .collect();
        let value = |n: usize| msa.get(n).copied().unwrap_or_default().to_owned();
        let errors = lines()
            .filter(|line| line.starts_with("ERR"))
            .map(str::to_owned)
            .collect();
        Some(Acknowledgment {
            code: value(1),
            control_id: value(2),
            errors,
        })
    }
}
