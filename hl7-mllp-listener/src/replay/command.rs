//! `replay` and `requeue` of the command lines.

use super::{ReplayError, Replayed, Selection};
use crate::ack::Answer;
use crate::process::Processor;
use std::io::Write;

/// Run messages of the journal again: one, by the id of its Task, or all that the options select. What was refused or had no map, unless
/// --ending says otherwise; what others have changed since an applied message only gains what it lacks.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Replay {
    /// The id of its Task in the journal.
    #[arg(conflicts_with_all = ["from", "to", "sender", "event", "mappings", "outdated", "ending"])]
    task_id: Option<String>,
    /// Received on this day or at this instant, or later.
    #[arg(long)]
    from: Option<String>,
    /// Received on this day or at this instant, or earlier.
    #[arg(long)]
    to: Option<String>,
    /// MSH-3:MSH-4.
    #[arg(long)]
    sender: Option<String>,
    /// The trigger event, such as A01.
    #[arg(long)]
    event: Option<String>,
    /// Those that went through mappings of this version (Task.groupIdentifier).
    #[arg(long)]
    mappings: Option<String>,
    /// Those that went through other mappings than those of now.
    #[arg(long)]
    outdated: bool,
    /// How they ended.
    #[arg(long, value_parser = ["refused", "unmapped", "applied"])]
    ending: Vec<String>,
}

/// What can go wrong at a terminal.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Replay {
    /// Runs the messages and prints what became of each: the answer of one, or a line `Task<TAB>code` of many and how many there were. True
    /// if all were accepted.
    ///
    /// # Errors
    /// When the server does not answer, or the one message cannot be run again.
    pub async fn run(
        self,
        processor: &Processor,
        out: &mut impl Write,
    ) -> Result<bool, CommandError> {
        if let Some(task_id) = &self.task_id {
            let answer = processor.replay(task_id).await?;
            print_answer(&answer, out)?;
            return Ok(answer.code.is_accept());
        }
        let selection = Selection {
            endings: self.ending,
            from: self.from,
            to: self.to,
            sender: self.sender,
            event: self.event,
            mappings: self.mappings,
            outdated: self.outdated,
            item: None,
        };
        // Whether it can be written shows the last line.
        let replayed = processor.replay_all(&selection, |id, result| {
            let _ = match result {
                Ok(answer) => writeln!(out, "{id}\t{}", answer.code.code()),
                Err(error) => writeln!(out, "{id}\t{error}"),
            };
        });
        let replayed = replayed.await;
        print_count(&replayed?, out)
    }
}

/// Runs the messages again whose codes have got a mapping. True if all were accepted.
///
/// # Errors
/// When the server does not answer.
pub async fn requeue(processor: &Processor, out: &mut impl Write) -> Result<bool, CommandError> {
    print_count(&processor.requeue().await?, out)
}

fn print_answer(answer: &Answer, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "{}", answer.code.code())?;
    for error in &answer.errors {
        writeln!(out, "{error}")?;
    }
    Ok(())
}

fn print_count(replayed: &Replayed, out: &mut impl Write) -> Result<bool, CommandError> {
    let Replayed {
        accepted,
        refused,
        pruned,
    } = replayed;
    writeln!(
        out,
        "{accepted} accepted, {refused} refused, {pruned} no longer in the journal"
    )?;
    Ok(*refused == 0)
}
