//! A process writes under load from several tasks and is killed at a random moment, again and again on one store. Afterwards
//! everything it said was acknowledged is there, at its version, and of the rest at most what was under way, whole.
//!
//! The writer is this same binary, started again as [`writer`]. It draws its calls from a seed, and says one line for each that
//! was acknowledged; from the seed and the lines the parent knows every row of every version. A failure prints the seed of the
//! load; the moment of the kill is not repeatable.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use btrdb_flight::engine::{Engine, Settings};
use btrdb_flight::model::StreamId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::ledger::{Answer, Ledger};
use super::workload::{Load, Op, numbered};
use super::{case, eager, remote, seeds};

/// Tasks that write at once, each to streams of its own and to one they share.
const LANES: u64 = 3;

/// Kills on one store; then a fresh one, so that reading it all again stays quick.
const KILLS_A_STORE: u64 = 4;

/// A load ends here if nobody kills it.
const OPS_MAX: usize = 20_000;

#[test]
fn what_was_acknowledged_survives_a_kill() {
    for seed in seeds(3, 25) {
        case("BTRDB_TEST_SEED", &seed.to_string(), || kill_often(seed));
    }
}

/// The other half of the crash test.
#[test]
#[ignore = "the crash test starts it"]
fn writer() {
    let Ok(location) = std::env::var("BTRDB_CRASH_LOCATION") else {
        return;
    };
    let round = std::env::var("BTRDB_CRASH_ROUND").expect("given with the location");
    let mut numbers = round.split(':').map(|number| number.parse().unwrap());
    let (seed, kill) = (numbers.next().unwrap(), numbers.next().unwrap());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let engine = open(&location).await;
        say("opened");
        let mut lanes = JoinSet::new();
        for lane in 0..LANES {
            lanes.spawn(write(Arc::clone(&engine), seed, kill, lane));
        }
        lanes.join_all().await;
    });
}

/// Draws calls and makes them, one after the other.
async fn write(engine: Arc<Engine>, seed: u64, kill: u64, lane: u64) {
    let mut load = load(seed, kill, lane);
    let mut rng = StdRng::seed_from_u64(load_seed(seed, kill, lane) + 1);
    for number in 0..OPS_MAX {
        let op = load.next();
        let mut line = format!("{lane} {number}");
        for answer in op.run(&engine).await {
            match answer {
                Ok(answer) => line += &format!(" {answer}"),
                Err(error) => line = format!("{FAILED}{op:?}: {error:?}"),
            }
        }
        say(&line);
        match rng.random_range(0..100) {
            0 => engine.fold().await.expect("folded"),
            1 => drop(engine.checkpoint().await.expect("a checkpoint")),
            _ => {}
        }
    }
}

/// What sets lines of the writer apart from those of the test harness around it.
const MARK: &str = "@ ";

/// What a line begins with that tells of a failure, which nothing here excuses.
const FAILED: &str = "failed: ";

/// One line, in one write: a kill leaves it whole or not there.
fn say(what: &str) {
    let line = format!("{MARK}{what}\n");
    let mut out = std::io::stdout().lock();
    let said = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    said.expect("the parent listens");
}

async fn open(location: &str) -> Arc<Engine> {
    let settings = Settings {
        lease: match remote() {
            Some(_) => Duration::from_millis(300),
            None => Duration::ZERO,
        },
        ..eager()
    };
    Engine::open(location, settings).await.expect("opened")
}

/// The stream that all tasks write.
const SHARED: u128 = 1;

fn streams_of(lane: u64) -> [u128; 2] {
    let lane = u128::from(lane);
    [10 + 2 * lane, 11 + 2 * lane]
}

fn load_seed(seed: u64, kill: u64, lane: u64) -> u64 {
    (seed * KILLS_A_STORE + kill) * LANES + lane
}

/// What a task does until it is killed for the `kill`th time.
fn load(seed: u64, kill: u64, lane: u64) -> Load {
    let id = |number: u128| numbered(number).id;
    let own: Vec<StreamId> = streams_of(lane).map(id).to_vec();
    let start = 100_000 * kill as i64;
    let spare = 1_000_000 * u128::from(1 + kill * LANES + lane);
    let load_seed = load_seed(seed, kill, lane);
    Load::new(load_seed, &own, &[id(SHARED)], 1500, start, spare)
}

/// Kills writers on one store, and looks at it after each.
fn kill_often(seed: u64) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let location = match remote() {
        None => folder.path().to_str().expect("a path in UTF-8").to_owned(),
        Some(store) => format!("{store}/crash-{}", Uuid::new_v4()),
    };
    let rng = &mut StdRng::seed_from_u64(seed);
    let ledger = Ledger::default();
    live(async {
        let engine = open(&location).await;
        let numbers = (0..LANES).flat_map(streams_of).chain([SHARED]);
        for number in numbers {
            let op = Op::Create(numbered(number));
            ledger.acknowledged(LANES, &engine, &op).await;
        }
        engine.close().await.expect("closed");
    });
    for kill in 0..KILLS_A_STORE {
        let lines = kill_one(&location, seed, kill, rng);
        eprintln!("seed {seed}, kill {kill}: {} lines", lines.len());
        write_down(&ledger, &lines, seed, kill);
        let is_closed = rng.random_bool(0.5);
        live(async {
            let engine = open(&location).await;
            ledger.verify(&engine, || rng.random_bool(0.05)).await;
            if is_closed {
                engine.close().await.expect("closed");
            }
        });
    }
}

/// When `future` ends, so does everything it started: the next writer finds nobody.
fn live<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(future)
}

/// Starts a writer and kills it; answers what it said.
fn kill_one(location: &str, seed: u64, kill: u64, rng: &mut StdRng) -> Vec<String> {
    let mut writer: Child = Command::new(std::env::current_exe().expect("this binary"))
        .args([
            "--exact",
            "store::crash::writer",
            "--ignored",
            "--nocapture",
        ])
        .env("BTRDB_CRASH_LOCATION", location)
        .env("BTRDB_CRASH_ROUND", format!("{seed}:{kill}"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary runs");
    let mut lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
    let mut said = Vec::new();
    // Sometimes while it opens the store, otherwise after some lines; and never just after one.
    let count = match rng.random_bool(0.15) {
        true => 0,
        false => rng.random_range(1..400),
    };
    while said.len() < count {
        match lines.next() {
            Some(line) => said.extend(marked(&line.expect("text"))),
            None => panic!(
                "the writer ended by itself: {:?}, {:?}",
                writer.wait(),
                said.last()
            ),
        }
    }
    std::thread::sleep(Duration::from_micros(rng.random_range(0..30_000)));
    writer.kill().expect("it can be killed");
    for line in lines {
        said.extend(marked(&line.expect("text")));
    }
    let status = writer.wait().expect("it was started");
    assert!(!status.success(), "the writer ended by itself");
    let failure = said.iter().find(|line| line.starts_with(FAILED));
    assert!(failure.is_none(), "the writer {failure:?}");
    said
}

/// A line of the writer's own.
fn marked(line: &str) -> Option<String> {
    // The harness leaves the line open in which it names the test.
    let (_, line) = line.split_once(MARK)?;
    Some(line.to_owned())
}

/// Draws the calls again that the writer made, and writes down what it was answered; the one after is under way.
fn write_down(ledger: &Ledger, lines: &[String], seed: u64, kill: u64) {
    for lane in 0..LANES {
        let mut load = load(seed, kill, lane);
        let answered = lines.iter().filter_map(|line| {
            let mut words = line.split(' ');
            let is_ours = words.next() == Some(lane.to_string().as_str());
            is_ours.then(|| words.map(|word| word.parse().unwrap()).collect())
        });
        for (number, mut answers) in answered.enumerate().map(|(n, a): (usize, Vec<u64>)| (n, a)) {
            assert_eq!(answers.remove(0), number as u64, "lines of {lane} in order");
            let call = ledger.send(lane, &load.next());
            let answers = answers.into_iter().map(Answer::Done).collect();
            ledger.answer(call, answers);
        }
        ledger.send(lane, &load.next());
    }
}
