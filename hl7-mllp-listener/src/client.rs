//! A small MLLP client: one message, one acknowledgement. An answer under another control id, or none in time, ends the
//! connection, since a late answer would be taken for the next message's.

use crate::codec::{Frame, MllpCodec};
use crate::header::Header;
use bytes::{Bytes, BytesMut};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio_util::codec::{Decoder, Encoder};

/// Longest acknowledgement that is read, in bytes.
const MAX_ACK_BYTES: usize = 1024 * 1024;

/// One connection to an MLLP listener.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
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

/// Sends the message of each file, framed or not, over one connection, and writes a line for each: file, MSA-1, MSA-2, ERR segments.
/// Gives the number of messages that were not accepted.
///
/// # Errors
/// A file that cannot be read, or a message without an answer; the text names the file.
pub async fn send_files(
    address: &str,
    files: &[PathBuf],
    timeout: Duration,
    out: &mut (dyn Write + Send),
) -> Result<usize> {
    let mut client = Client::connect(address, timeout).await?;
    let mut refused = 0;
    for file in files {
        let named = |error: Error| Error::new(error.kind(), format!("{}: {error}", file.display()));
        let answer = client.exchange(read_unframed(file).map_err(named)?).await;
        let answer = answer.map_err(named)?;
        refused += usize::from(!matches!(answer.code.as_str(), "AA" | "CA"));
        let (code, id, errors) = (answer.code, answer.control_id, answer.errors.join(" "));
        writeln!(out, "{}\t{code}\t{id}\t{errors}", file.display())?;
    }
    Ok(refused)
}

/// The message of a file. Files are often saved with their MLLP frame.
///
/// # Errors
/// The file cannot be read.
pub fn read_unframed(file: &Path) -> Result<Bytes> {
    let bytes = std::fs::read(file)?;
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, 0x0B))
        .unwrap_or(bytes.len());
    let end = bytes
        .iter()
        .position(|byte| *byte == 0x1C)
        .unwrap_or(bytes.len());
    Ok(Bytes::from(bytes).slice(start.min(end)..end))
}

impl Client {
    /// Connects; every later wait is bounded by the timeout.
    pub async fn connect(address: impl ToSocketAddrs, timeout: Duration) -> Result<Client> {
        let stream = tokio::time::timeout(timeout, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Client {
            stream,
            codec: MllpCodec::new(MAX_ACK_BYTES),
            buffer: BytesMut::new(),
            timeout,
        })
    }

    /// Sends a message without its frame and waits for its acknowledgement.
    pub async fn exchange(&mut self, message: Bytes) -> Result<Acknowledgment> {
        let control_id = Header::read(&message).map(|header| header.field(10).into_owned());
        let mut frame = BytesMut::new();
        self.codec.encode(message, &mut frame)?;
        let (timeout, exchange) = (self.timeout, async {
            self.stream.write_all(&frame).await?;
            self.read_acknowledgment().await
        });
        let acknowledgment = tokio::time::timeout(timeout, exchange).await??;
        if acknowledgment.control_id != control_id.unwrap_or_default() {
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
