//! Everything of the bridge that runs in a process: its listeners before one intake, started together and ended in order.

use crate::intake::{Intake, SpoolSettings};
use crate::process::Processor;
use crate::server::{self, Entrance};
use crate::settings::ConnectionSettings;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// A bridge that runs.
pub struct Bridge {
    pub intake: Arc<Intake<Processor>>,
    tasks: JoinSet<()>,
    grace: Duration,
    stop: CancellationToken,
}

impl Bridge {
    /// Takes up what the spool holds and what of the work list has got a mapping, and serves connections until `stop`.
    ///
    /// # Errors
    /// The spool cannot be used; the text says why.
    pub fn start(
        processor: Processor,
        entrances: Vec<Entrance>,
        connections: &ConnectionSettings,
        spool: Option<&SpoolSettings>,
        stop: CancellationToken,
    ) -> Result<Bridge, String> {
        let mut tasks = JoinSet::new();
        let max_in_work = connections.max_messages_in_work;
        let intake = Intake::start(processor.clone(), max_in_work, spool, stop.clone())?;
        tasks.spawn(processor.requeue_at_start(stop.clone()));
        for entrance in entrances {
            let (intake, connections) = (intake.clone(), connections.clone());
            tasks.spawn(server::serve(entrance, intake, connections, stop.clone()));
        }
        Ok(Bridge {
            intake,
            tasks,
            grace: Duration::from_millis(connections.shutdown_grace_ms),
            stop,
        })
    }

    /// Waits for the end, after `stop`: what is in work is answered within the grace period, what waits stays in the spool.
    pub async fn ended(self) {
        self.stop.cancelled().await;
        let end = Instant::now() + self.grace;
        self.tasks.join_all().await;
        let _ = timeout_at(end, self.intake.ended()).await;
    }
}
