//! A small MLLP client: one message, one acknowledgement. An answer under another control id, or none in time, ends the
//! connection, since a late answer would be taken for the next message's.

use crate::codec::{Frame, MllpCodec};
use crate::header::Header;
use bytes::{Bytes, BytesMut};
use std::io::{Error, ErrorKind, Result};
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
