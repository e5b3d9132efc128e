//! Whatever anybody sends, the server answers it, and nothing panics.
//!
//! Messages that a client could send are changed a little, again and again: fields inside fields, words of SQL, bits of
//! buffers. What the server signed is changed beneath the signature and signed again, so that the signature does not guard
//! what lies behind it. The same seed sends the same messages in the same order.
//!
//! Each test takes `BTRDB_FUZZ_SECONDS` (10 without it), and starts from `BTRDB_FUZZ_SEED`. What once went wrong is kept in
//! `tests/fixtures/fuzz` and is sent first, unchanged. A new finding is written to the folder for temporary files, and the
//! test names it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tonic::{Code, Status};

mod bytes;
mod message;
mod seeds;
mod send;

use message::Message;
use send::Target;

/// What one client sends in one call, as encoded messages.
#[derive(Clone, Debug, PartialEq)]
struct Input {
    kind: Kind,
    messages: Vec<Vec<u8>>,
}

/// What the messages are, and so which calls they go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A `FlightDescriptor`: GetFlightInfo, GetSchema, PollFlightInfo, and DoGet of what they give out.
    Descriptor,
    /// A `Ticket`: DoGet.
    Ticket,
    /// What stands inside the signature of a ticket: DoGet.
    SealedTicket,
    /// What stands inside the signature of a prepared statement's handle: executed, as a query and as an update.
    SealedHandle,
    /// An `Action`: DoAction.
    Action,
    /// A `Criteria`: ListFlights.
    Criteria,
    /// Every `FlightData` of a DoPut.
    Put,
    /// Every `FlightData` of a DoExchange.
    Exchange,
}

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Self::Descriptor => "descriptor",
            Self::Ticket => "ticket",
            Self::SealedTicket => "sealed-ticket",
            Self::SealedHandle => "sealed-handle",
            Self::Action => "action",
            Self::Criteria => "criteria",
            Self::Put => "put",
            Self::Exchange => "exchange",
        }
    }
}

impl Input {
    fn new(kind: Kind, messages: Vec<Vec<u8>>) -> Self {
        Self { kind, messages }
    }

    /// A few changes.
    fn mutated(&self, random: &mut StdRng) -> Self {
        use rand::Rng;
        let mut input = self.clone();
        for _ in 0..random.random_range(1..5) {
            let count = input.messages.len();
            if count > 1 && random.random_ratio(1, 6) {
                let (from, to) = (random.random_range(0..count), random.random_range(0..count));
                match random.random_range(0..3) {
                    0 => drop(input.messages.remove(from)),
                    1 => input.messages.swap(from, to),
                    _ => {
                        let copy = input.messages[from].clone();
                        input.messages.insert(to, copy);
                    }
                }
                continue;
            }
            let Some(position) =
                (!input.messages.is_empty()).then(|| random.random_range(0..count))
            else {
                break;
            };
            let bytes = &mut input.messages[position];
            match Message::parse(bytes) {
                Some(mut message) if !random.random_ratio(1, 30) => {
                    message.mutate(random);
                    *bytes = message.encode();
                }
                _ => bytes::mutate_bytes(bytes, random),
            }
        }
        input
    }

    /// As a file has it: each message behind its length, u32 LE.
    fn to_file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for message in &self.messages {
            file.extend((message.len() as u32).to_le_bytes());
            file.extend(message);
        }
        file
    }

    fn from_file(kind: Kind, mut file: &[u8]) -> Self {
        let mut messages = Vec::new();
        while let Some((length, rest)) = file.split_first_chunk::<4>() {
            let (message, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
            messages.push(message.to_vec());
            file = rest;
        }
        Self { kind, messages }
    }
}

/// The inputs that once went wrong.
fn kept(kind: Kind) -> Vec<Input> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/fuzz")
        .join(kind.folder());
    let Ok(files) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("listed").path()).collect();
    files.sort();
    let read = |file| Input::from_file(kind, &std::fs::read(file).expect("readable"));
    files.into_iter().map(read).collect()
}

/// Panics since the process began, of any thread.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes panics instead of printing them. Arrow's decoder asserts what it does not check, and is known to: puts catch that, and
/// answer that the data is damaged.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let at = panic.location().map_or("", |location| location.file());
            let is_decoder = [
                "/arrow-ipc-",
                "/arrow-data-",
                "/arrow-buffer-",
                "/arrow-array-",
                "/flatbuffers-",
            ]
            .iter()
            .any(|name| at.contains(name));
            let thread = std::thread::current();
            let is_ours = thread
                .name()
                .is_some_and(|name| SERVER_THREADS.contains(&name));
            match (is_ours, is_decoder) {
                (true, true) => {}
                (true, false) => PANICS.lock().push(panic.to_string()),
                (false, _) => print(panic),
            }
        }));
    });
}

/// Threads that speak to clients.
const SERVER_THREAD: &str = "fuzzed-server";

/// Threads of the server, which must not panic: those, and the ones that it runs statements on. The tests' may.
const SERVER_THREADS: [&str; 2] = [SERVER_THREAD, "statements"];

/// Longest that a call may take.
const CALL_MAX: Duration = Duration::from_secs(30);

/// Inputs after which the server is begun anew, without the streams that were put into it.
const INPUTS_PER_SERVER: usize = 4_000;

fn number_of(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Sends seeds of `kinds`, then changes of them, until the time is up.
fn fuzz(kinds: &[Kind], text: bool) {
    note_panics();
    let seed = number_of("BTRDB_FUZZ_SEED", 0x5eed);
    let end = Instant::now() + Duration::from_secs(number_of("BTRDB_FUZZ_SECONDS", 10));
    let mut random = StdRng::seed_from_u64(seed);
    let mut answers: BTreeMap<String, u64> = BTreeMap::new();
    let mut sent = 0_u64;
    loop {
        let target = Target::start(SERVER_THREAD);
        let seeds: Vec<Input> = seeds::all(&target, text)
            .into_iter()
            .filter(|input| kinds.contains(&input.kind))
            .collect();
        let kept: Vec<Input> = kinds.iter().flat_map(|kind| kept(*kind)).collect();
        assert!(!seeds.is_empty(), "there are seeds of {kinds:?}");
        let first = kept.iter().chain(&seeds).cloned();
        let mut first = (sent == 0).then_some(first).into_iter().flatten();
        for _ in 0..INPUTS_PER_SERVER {
            let input = first.next().unwrap_or_else(|| {
                seeds
                    .choose(&mut random)
                    .expect("not empty")
                    .mutated(&mut random)
            });
            let answer = target.send(&input, CALL_MAX);
            sent += 1;
            check(&input, &answer, seed, sent);
            *answers.entry(name_of(&answer)).or_default() += 1;
            if Instant::now() > end && first.next().is_none() {
                println!("seed {seed}: {sent} messages sent; answers: {answers:#?}");
                return;
            }
        }
    }
}

/// How a call was answered, for the count.
fn name_of(answer: &Result<(), Status>) -> String {
    match answer {
        Ok(()) => "Ok".to_owned(),
        Err(status) if status.code() == Code::Internal => {
            let start: String = status.message().chars().take(90).collect();
            format!("Internal: {start}")
        }
        Err(status) => format!("{:?}", status.code()),
    }
}

/// No panic, no call without an answer, no connection that breaks.
fn check(input: &Input, answer: &Result<(), Status>, seed: u64, sent: u64) {
    let mut wrong = String::new();
    for panic in PANICS.lock().drain(..) {
        writeln!(wrong, "the server panicked: {panic}").expect("a string takes it");
    }
    if let Err(status) = answer
        && (status.code() == Code::Unknown || send::is_broken(status))
    {
        writeln!(wrong, "the call broke: {status:?}").expect("a string takes it");
    }
    if wrong.is_empty() {
        return;
    }
    let file =
        std::env::temp_dir().join(format!("btrdb-fuzz-{}-{seed}-{sent}", input.kind.folder()));
    std::fs::write(&file, input.to_file()).expect("a folder for temporary files");
    panic!(
        "{wrong}message {sent} of seed {seed}, kept as {}: copy it to tests/fixtures/fuzz/{}",
        file.display(),
        input.kind.folder()
    );
}

#[test]
fn descriptors_of_any_form_are_answered() {
    fuzz(&[Kind::Descriptor, Kind::Criteria], false);
}

#[test]
fn statements_of_any_words_are_answered() {
    fuzz(&[Kind::Descriptor], true);
}

#[test]
fn tickets_of_any_bytes_are_answered() {
    fuzz(&[Kind::Ticket], false);
}

#[test]
fn signed_bytes_that_say_anything_are_answered() {
    fuzz(&[Kind::SealedTicket, Kind::SealedHandle], false);
}

#[test]
fn actions_of_any_body_are_answered() {
    fuzz(&[Kind::Action], false);
}

#[test]
fn puts_of_any_bytes_are_answered() {
    fuzz(&[Kind::Put], false);
}

#[test]
fn exchanges_of_any_bytes_are_answered() {
    fuzz(&[Kind::Exchange], false);
}

#[test]
fn inputs_survive_a_file() {
    let input = Input::new(Kind::Put, vec![vec![1, 2, 3], Vec::new(), vec![4]]);
    assert_eq!(Input::from_file(Kind::Put, &input.to_file()), input);
}
