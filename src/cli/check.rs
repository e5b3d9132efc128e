//! `check`: is everything in a store there and whole.

use clap::Args;

use super::output;
use super::store::{LocationArgs, ReadArgs};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

/// Read all of a store and say what is wrong with it.
///
/// Verifies every checksum, and every tree against its own statistics. Problems are printed one a line, then a summary; if
/// there are any, the exit code is 9. Only reads, so it may run beside the process that writes the store: it then checks what
/// was there when it began.
#[derive(Args, Debug)]
pub struct CheckArgs {
    #[command(flatten)]
    location: LocationArgs,

    #[command(flatten)]
    read: ReadArgs,
}

pub(super) async fn run(args: CheckArgs) -> Result<()> {
    let data = &args.location.data;
    let engine = Engine::inspect(data, args.read.settings()).await?;
    let report = engine.check().await?;
    // A reader that left early has seen enough; the exit code still tells.
    let _ = output::print(format!("{report}\n").into_bytes())?;
    let problems = match report.problems.len() as u64 + report.more_problems {
        0 => return Ok(()),
        1 => "1 problem was found".to_owned(),
        count => format!("{count} problems were found"),
    };
    Err(Error::new(
        ErrorKind::Corrupt,
        format!("the store {data} is damaged, {problems}"),
    ))
}
