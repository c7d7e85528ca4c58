//! One connection: a message is read, processed and answered before the next one is read, so answers stand in order and
//! a sender that is faster than the server waits in TCP. Messages of all connections take turns; one that waits is not refused.
//! Closes connections that stall, send no MLLP, or do not take their acknowledgement.

use crate::ack::{AckCode, Answer, AnswerError, ErrorCode};
use crate::codec::{Frame, MllpCodec};
use crate::process::Reply;
use crate::settings::ConnectionSettings;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;

/// A message that grows beyond this needs a permit to be read on, in bytes: many connections must not fill the memory.
const LARGE_BYTES: usize = 64 * 1024;
/// What a connection keeps for its next message, in bytes.
const BUFFER_BYTES: usize = 8 * 1024;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer closed it.
    Closed,
    /// Nothing arrived in time between two messages.
    Idle,
    /// Nothing arrived in time within a message.
    Stalled,
    /// The peer sends something else than MLLP.
    NotMllp,
    /// The peer did not take its acknowledgement.
    Unread,
    /// The server stops.
    Shutdown,
    /// The connection broke.
    Broken(io::ErrorKind),
}

/// What all connections of a listener share.
pub(crate) struct Turns {
    /// Held while a large message is read and processed.
    pub(crate) large_messages: Semaphore,
    /// Held while a message is processed.
    pub(crate) in_work: Semaphore,
}

impl Turns {
    pub(crate) fn new(settings: &ConnectionSettings) -> Turns {
        Turns {
            large_messages: Semaphore::new(settings.max_large_messages),
            in_work: Semaphore::new(settings.max_messages_in_work),
        }
    }
}

/// Serves one connection until it ends. `process` is called for one message at a time.
pub(crate) async fn run<S, P, F>(
    stream: S,
    process: P,
    settings: &ConnectionSettings,
    turns: &Turns,
    shutdown: &CancellationToken,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: Fn(Bytes) -> F,
    F: Future<Output = Reply>,
{
    let mut session = Session {
        stream,
        codec: MllpCodec::new(settings.max_message_bytes),
        buffer: BytesMut::with_capacity(BUFFER_BYTES),
        junk_bytes: 0,
        settings,
        large_messages: &turns.large_messages,
        permit: None,
    };
    loop {
        // A message that has not been begun is not begun any more: unanswered, its sender sends it again elsewhere.
        let frame = tokio::select! {
            biased;
            () = shutdown.cancelled() => return End::Shutdown,
            frame = session.next_frame() => frame,
        };
        let frame = match frame {
            Err(end) => return end,
            Ok(frame) => frame,
        };
        let turn = tokio::select! {
            biased;
            () = shutdown.cancelled() => return End::Shutdown,
            turn = turns.in_work.acquire() => turn,
        };
        let reply = answer(frame, &process).await;
        drop(turn);
        if let Some(acknowledgment) = reply.acknowledgment
            && let Err(end) = session.write(acknowledgment).await
        {
            return end;
        }
        session.release();
    }
}

struct Session<'s, S> {
    stream: S,
    codec: MllpCodec,
    buffer: BytesMut,
    /// Of this connection.
    junk_bytes: usize,
    settings: &'s ConnectionSettings,
    large_messages: &'s Semaphore,
    /// Held while a large message is read and processed.
    permit: Option<SemaphorePermit<'s>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    /// Cancel-safe: what was read stays in the buffer.
    async fn next_frame(&mut self) -> Result<Frame, End> {
        loop {
            let frame = self.codec.decode(&mut self.buffer).map_err(broken)?;
            self.count_irregularities()?;
            if let Some(frame) = frame {
                return Ok(frame);
            }
            if self.buffer.len() > LARGE_BYTES && self.permit.is_none() {
                let permit = self.large_messages.acquire().await;
                self.permit = Some(permit.map_err(|_| End::Shutdown)?);
            }
            let (limit_ms, end) = match self.codec.is_inside() {
                true => (self.settings.read_timeout_ms, End::Stalled),
                false => (self.settings.idle_timeout_ms, End::Idle),
            };
            let read = timeout(
                Duration::from_millis(limit_ms),
                self.stream.read_buf(&mut self.buffer),
            );
            let read = read.await.map_err(|_| end)?.map_err(broken)?;
            if read == 0 {
                self.codec.decode_eof(&mut self.buffer).map_err(broken)?;
                self.count_irregularities()?;
                return Err(End::Closed);
            }
        }
    }

    /// After a message: what only a large one needed is given back.
    fn release(&mut self) {
        self.permit = None;
        if self.buffer.is_empty() && self.buffer.capacity() > BUFFER_BYTES {
            self.buffer = BytesMut::with_capacity(BUFFER_BYTES);
        }
    }

    fn count_irregularities(&mut self) -> Result<(), End> {
        let found = self.codec.take_irregularities();
        metrics::counter!("mllp_junk_bytes_total").increment(found.junk_bytes as u64);
        metrics::counter!("mllp_frame_restarts_total").increment(found.restarts as u64);
        metrics::counter!("mllp_frames_cut_off_total").increment(found.cut_off as u64);
        self.junk_bytes += found.junk_bytes;
        if self.junk_bytes > self.settings.max_junk_bytes {
            Err(End::NotMllp)
        } else {
            Ok(())
        }
    }

    async fn write(&mut self, message: Bytes) -> Result<(), End> {
        let mut frame = BytesMut::new();
        self.codec.encode(message, &mut frame).map_err(broken)?;
        let write = async {
            self.stream.write_all(&frame).await?;
            self.stream.flush().await
        };
        let limit = Duration::from_millis(self.settings.write_timeout_ms);
        timeout(limit, write)
            .await
            .map_err(|_| End::Unread)?
            .map_err(broken)
    }
}

fn broken(error: io::Error) -> End {
    End::Broken(error.kind())
}

async fn answer<P, F>(frame: Frame, process: &P) -> Reply
where
    P: Fn(Bytes) -> F,
    F: Future<Output = Reply>,
{
    let started = Instant::now();
    let (length, reply) = match frame {
        Frame::Message(message) => (message.len(), process_or_refuse(message, process).await),
        Frame::TooLong { head, length } => (length, Reply::to(&head, &too_long())),
    };
    let code = reply.code.map_or("none", AckCode::code);
    metrics::counter!("mllp_messages_received_total").increment(1);
    metrics::counter!("mllp_received_bytes_total").increment(length as u64);
    metrics::counter!("mllp_acknowledgments_total", "code" => code).increment(1);
    metrics::histogram!("mllp_acknowledgment_seconds").record(started.elapsed());
    tracing::debug!(
        code,
        bytes = length,
        milliseconds = started.elapsed().as_millis() as u64,
        "message answered"
    );
    reply
}

/// A defect met by one message must not end the connection unanswered: its sender would send it again for ever.
async fn process_or_refuse<P, F>(message: Bytes, process: &P) -> Reply
where
    P: Fn(Bytes) -> F,
    F: Future<Output = Reply>,
{
    let reply = AssertUnwindSafe(process(message.clone()))
        .catch_unwind()
        .await;
    reply.unwrap_or_else(|_| {
        tracing::error!("processing a message ended in a panic");
        let error = AnswerError::error(ErrorCode::Internal, None, "internal error");
        Reply::to(&message, &Answer::refuse(AckCode::AE, error))
    })
}

fn too_long() -> Answer {
    let error = AnswerError::error(
        ErrorCode::ValueTooLong,
        None,
        "the message is longer than this listener takes",
    );
    Answer::refuse(AckCode::AR, error)
}
