//! One connection: a frame is read, taken in and answered before the next one is read, so answers stand in order and
//! a sender that is faster than the server waits in TCP. Messages of all connections take turns; one that waits is not refused.
//! Closes connections that stall, send no MLLP, or do not take their acknowledgement.

use crate::codec::{Frame, MllpCodec};
use crate::intake::{Application, Apply, Intake, Reply};
use crate::listeners::Admission;
use crate::replies::Replies;
use crate::settings::ConnectionSettings;
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use std::time::Duration;
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
    /// The peer speaks no TLS, or has no certificate of one of the authorities.
    NoTls,
    /// The peer's certificate is no sender's.
    NotAdmitted,
    /// The server stops.
    Shutdown,
    /// The connection broke.
    Broken(io::ErrorKind),
}

/// Serves one connection until it ends. `large_messages` has a permit for each large message that may be in memory. Application
/// acknowledgements of enhanced mode go to `replies`, where there are any.
pub(crate) async fn run<S, A>(
    stream: S,
    intake: &Arc<Intake<A>>,
    admission: &Admission,
    settings: &ConnectionSettings,
    large_messages: &Semaphore,
    replies: Option<&Replies>,
    shutdown: &CancellationToken,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Apply,
{
    let mut session = Session {
        stream,
        codec: MllpCodec::new(settings.max_message_bytes),
        buffer: BytesMut::with_capacity(BUFFER_BYTES),
        junk_bytes: 0,
        settings,
        large_messages,
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
        let Some(reply) = intake.take(frame, admission).await else {
            return End::Shutdown;
        };
        let Reply {
            acknowledgments,
            application,
            later,
        } = reply;
        if let Err(end) = session.write_all(acknowledgments).await {
            return end;
        }
        if let Some(replies) = replies {
            replies.put(application, later);
            session.release();
            continue;
        }
        if let Err(end) = session.write_application(application).await {
            return end;
        }
        if let Some(later) = later {
            let later = tokio::select! {
                biased;
                () = shutdown.cancelled() => return End::Shutdown,
                later = later => later,
            };
            if let Err(end) = session.write_application(later).await {
                return end;
            }
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

    async fn write_application(&mut self, application: Option<Application>) -> Result<(), End> {
        let acknowledgment = application.and_then(|own| own.acknowledgment());
        self.write_all(acknowledgment.into_iter().collect()).await
    }

    async fn write_all(&mut self, messages: Vec<Bytes>) -> Result<(), End> {
        for message in messages {
            self.write(message).await?;
        }
        Ok(())
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
