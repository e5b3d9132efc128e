//! `sql`: statements in, rows out, in this process or on a server.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use futures::StreamExt;

use super::connect::CredentialArgs;
use super::output::{Flow, Format, Output};
use super::remote::RemoteArgs;
use super::store::{self, WriteArgs};
use super::{exit, serve};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

mod local;
mod remote;
mod statement;

use local::Local;
use remote::Remote;

/// Run SQL and print the rows.
///
/// Statements come from -c, then from -f, or from stdin if neither is given; they end with `;`. The first that fails ends the
/// run. `SET` lasts for the run. Rows go to stdout, everything else to stderr.
#[derive(Args, Debug)]
pub struct SqlArgs {
    /// Statements to run; may be given more than once.
    #[arg(short = 'c', long = "command", value_name = "SQL")]
    commands: Vec<String>,

    /// A file of statements, `-` for stdin; may be given more than once.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Run on this server, grpc://HOST:PORT, grpc+tls://HOST:PORT or unix:PATH, instead of on a store in this process.
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["btrdb", "profile"])]
    connect: Option<String>,

    #[command(flatten)]
    credentials: CredentialArgs,

    /// Run on this store: a directory, s3://BUCKET/PREFIX, or `memory:`, which is gone at the end of the run.
    ///
    /// It is opened for reading and writing, as `serve` does, so not while a server has it: use --connect then.
    #[arg(long, value_name = "STORE", default_value = store::MEMORY, conflicts_with = "connect")]
    data: String,

    /// Fill the store with an hour of made-up synchrophasor data first, if it is empty.
    #[arg(long, conflicts_with = "connect")]
    demo: bool,

    /// How rows are printed. json is one object a line; arrow is an IPC stream for each statement with rows.
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Longest table printed; the other formats print everything.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_rows: usize,

    #[command(flatten)]
    remote: RemoteArgs,

    #[command(flatten)]
    store: WriteArgs,
}

/// What one statement did.
enum Outcome {
    /// It has rows.
    Rows(Rows),
    /// It changed something: so many rows, where that is known.
    Changed(Option<u64>),
    /// It changed a setting.
    Set,
}

/// Rows as they arrive.
struct Rows {
    schema: arrow::datatypes::SchemaRef,
    batches: futures::stream::BoxStream<'static, Result<arrow::array::RecordBatch>>,
}

/// Where statements run.
enum Session {
    Local(Box<Local>),
    Remote(Box<Remote>),
}

pub(super) async fn run(args: SqlArgs) -> Result<()> {
    let texts = texts(&args)?;
    if let Some(address) = &args.connect {
        let session = Session::Remote(Box::new(Remote::connect(address, &args.credentials).await?));
        return run_all(session, &texts, &args).await;
    }
    if args.remote.is_asked() {
        if args.data != store::MEMORY {
            return Err(Error::invalid(format!(
                "--data {} and a BTrDB elsewhere (--btrdb, --profile) exclude each other: there is one store",
                args.data
            )));
        }
        let local = Local::new(args.remote.connect(&args.credentials).await?.backend)?;
        return run_all(Session::Local(Box::new(local)), &texts, &args).await;
    }
    let engine = store::open(&args.data, args.store.settings()).await?;
    let work = async {
        if args.demo {
            serve::demo_into(engine.as_ref()).await?;
        }
        let local = Local::new(Arc::<Engine>::clone(&engine))?;
        run_all(Session::Local(Box::new(local)), &texts, &args).await
    };
    let result = work.await;
    store::close(&engine, result).await
}

async fn run_all(mut session: Session, texts: &[String], args: &SqlArgs) -> Result<()> {
    let mut output = Output::new(args.format, args.max_rows);
    for text in texts {
        for sql in statement::split(text)? {
            if run_one(&mut session, sql, &mut output).await? == Flow::Stop {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn run_one(session: &mut Session, sql: &str, output: &mut Output) -> Result<Flow> {
    let outcome = match session {
        Session::Local(local) => local.run(sql).await?,
        Session::Remote(remote) => remote.run(sql).await?,
    };
    match outcome {
        Outcome::Rows(Rows {
            schema,
            mut batches,
        }) => {
            if output.begin(&schema)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
            while let Some(batch) = batches.next().await {
                match output.write(&batch?)? {
                    Flow::Continue => {}
                    Flow::Enough => break,
                    Flow::Stop => return Ok(Flow::Stop),
                }
            }
            // Dropped before the end is printed: a server stops working as soon as nobody reads.
            drop(batches);
            output.end()
        }
        Outcome::Changed(rows) => {
            match rows {
                Some(1) => eprintln!("1 row changed"),
                Some(rows) => eprintln!("{rows} rows changed"),
                None => eprintln!("done"),
            }
            Ok(Flow::Continue)
        }
        Outcome::Set => Ok(Flow::Continue),
    }
}

/// All SQL there is to run, in order.
fn texts(args: &SqlArgs) -> Result<Vec<String>> {
    let mut texts = args.commands.clone();
    for file in &args.files {
        texts.push(if file.as_os_str() == "-" {
            stdin()?
        } else {
            std::fs::read_to_string(file)
                .map_err(|error| exit::from_io(format!("cannot read {}", file.display()), error))?
        });
    }
    if texts.is_empty() {
        if std::io::stdin().is_terminal() {
            return Err(Error::invalid(
                "no SQL: give it with -c or -f, or pipe it in",
            ));
        }
        texts.push(stdin()?);
    }
    Ok(texts)
}

fn stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| exit::from_io("cannot read SQL from stdin", error))?;
    Ok(text)
}

/// A defect, said with what was expected.
fn unexpected(what: &str) -> Error {
    Error::new(ErrorKind::Internal, what)
}
