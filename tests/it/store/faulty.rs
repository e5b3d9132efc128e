//! An object store that fails on purpose, beneath any number of writers.
//!
//! ```text
//! engine A ──▶ Writer ──┐
//!                       ├──▶ Disk: the objects, what was done to them, and what is still on its way
//! engine B ──▶ Writer ──┘
//! ```
//!
//! A [`Writer`] counts its calls and does to one of them what its plan says. It can be paused, which holds its calls back on
//! both sides of their effect, and killed, after which it does nothing more.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use super::disk::{Change, Disk};

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing happens, and it fails.
    Fail,
    /// It takes effect, and fails. An answer breaks off in the middle.
    FailAfter,
    /// It fails, and takes effect once the writer has made so many more calls, or when [`Disk::land`] is called.
    Late(u64),
    /// A put takes effect, and is answered as if another's object had been there.
    OwnSuccess,
    /// A put is answered as if another's object had been there, and nothing is stored.
    Race,
    /// Never answered; on its way until [`Disk::land`] or [`Disk::forget`].
    Hang,
    /// This call and all that follow fail without effect, until [`Writer::recover`].
    Outage,
    /// This call and all that follow fail, and puts and deletes take effect nevertheless, until [`Writer::recover`].
    OutageAfter,
    /// The writer dies in this call: it is on its way, and no later one happens.
    Die,
    /// The writer is paused in this call, before it takes effect.
    Pause,
    /// The writer is paused in this call, before it is answered.
    PauseAfter,
}

/// What kind of call: faults differ in what they make sense for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Put,
    Delete,
    Get,
    List,
}

/// One writer's way to the disk.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Core>);

struct Core {
    disk: Arc<Disk>,
    number: u64,
    gate: watch::Sender<Gate>,
    state: Mutex<State>,
}

struct State {
    /// All that were made.
    calls: Vec<Call>,
    plan: Option<(u64, Fault)>,
    outage: Option<Fault>,
    flakiness: f64,
    /// Whether puts may hang: giving up on one takes half a minute, where time is real.
    may_hang: bool,
    rng: StdRng,
}

impl State {
    /// Some fault, now and then. Only puts hang, on which a writer has to give up by itself: what it does not know of, a real
    /// store's client repeats or gives up.
    fn flake(&mut self, call: Call) -> Option<Fault> {
        if self.flakiness == 0.0 || !self.rng.random_bool(self.flakiness) {
            return None;
        }
        let kinds = match call {
            Call::Get | Call::List => 2,
            Call::Delete => 3,
            Call::Put if self.may_hang => 6,
            Call::Put => 5,
        };
        Some(match self.rng.random_range(0..kinds) {
            0 => Fault::Fail,
            1 => Fault::FailAfter,
            2 => Fault::Late(self.rng.random_range(1..20)),
            3 => Fault::OwnSuccess,
            4 => Fault::Race,
            _ => Fault::Hang,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Paused,
    Dead,
}

impl Disk {
    /// A way in. `seed` decides how calls of concurrent tasks interleave.
    pub(crate) fn writer(self: &Arc<Self>, seed: u64) -> Writer {
        Writer(Arc::new(Core {
            disk: Arc::clone(self),
            number: self.next_writer(),
            gate: watch::Sender::new(Gate::Open),
            state: Mutex::new(State {
                calls: Vec::new(),
                plan: None,
                outage: None,
                flakiness: 0.0,
                may_hang: true,
                rng: StdRng::seed_from_u64(seed),
            }),
        }))
    }
}

impl Writer {
    /// Does `fault` to call number `call`, from 0.
    pub(crate) fn plan(&self, call: u64, fault: Fault) {
        self.0.state.lock().plan = Some((call, fault));
    }

    /// From now on any call goes wrong, in some way that passes, with this chance.
    pub(crate) fn be_flaky(&self, chance: f64) {
        self.0.state.lock().flakiness = chance;
    }

    /// As [`be_flaky`](Self::be_flaky), for checks in real time: nothing hangs.
    pub(crate) fn be_flaky_briefly(&self, chance: f64) {
        let mut state = self.0.state.lock();
        (state.flakiness, state.may_hang) = (chance, false);
    }

    /// Whether the plan has come to pass.
    pub(crate) fn is_past_plan(&self) -> bool {
        self.0.state.lock().plan.is_none()
    }

    /// The calls made so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.0.state.lock().calls.clone()
    }

    /// Holds calls back, those that are being made included.
    pub(crate) fn pause(&self) {
        self.pass_to(Gate::Paused);
    }

    /// When it is paused.
    pub(crate) async fn paused(&self) {
        let mut gate = self.0.gate.subscribe();
        let paused = gate.wait_for(|gate| *gate == Gate::Paused).await;
        paused.map(drop).expect("the sender is in self");
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) {
        self.pass_to(Gate::Open);
    }

    /// No call goes on, ever.
    pub(crate) fn kill(&self) {
        self.pass_to(Gate::Dead);
    }

    /// Ends an outage.
    pub(crate) fn recover(&self) {
        self.0.state.lock().outage = None;
    }

    fn pass_to(&self, next: Gate) {
        self.0.gate.send_if_modified(|gate| {
            let is_change = *gate != Gate::Dead && *gate != next;
            if is_change {
                *gate = next;
            }
            is_change
        });
    }
}

impl Core {
    /// Counts a call and holds it back as long as it must be; answers what else becomes of it.
    async fn begin(self: &Arc<Self>, call: Call) -> Option<Fault> {
        let (calls, fault) = {
            let mut state = self.state.lock();
            let number = state.calls.len() as u64;
            state.calls.push(call);
            let fault = state.plan.take_if(|(when, _)| *when == number);
            let fault = fault.map(|(_, fault)| fault);
            if matches!(fault, Some(Fault::Outage | Fault::OutageAfter)) {
                state.outage = fault;
            }
            let fault = fault.or(state.outage).or_else(|| state.flake(call));
            (number + 1, fault)
        };
        self.disk.land_due(self.number, calls).await;
        if fault == Some(Fault::Pause) {
            self.gate.send_replace(Gate::Paused);
        }
        self.wait().await;
        fault.filter(|fault| *fault != Fault::Pause)
    }

    /// Lets others go first, as often as chance has it, and waits while the writer is paused.
    async fn wait(&self) {
        let yields = self.state.lock().rng.random_range(0..3);
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        let mut gate = self.gate.subscribe();
        let opened = gate.wait_for(|gate| *gate == Gate::Open).await;
        opened.map(drop).expect("the sender is in self");
    }

    /// Begins a read; answers what becomes of it once it is done, see [`Core::has_read`].
    async fn read(self: &Arc<Self>, call: Call) -> Result<Option<Fault>> {
        match self.begin(call).await {
            None => Ok(None),
            Some(fault @ (Fault::FailAfter | Fault::PauseAfter)) => Ok(Some(fault)),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Die) => self.die().await,
            Some(_) => Err(failure("nothing was read")),
        }
    }

    /// Holds the answer to a read back as long as it must be; answers whether it breaks off.
    async fn has_read(&self, fault: Option<Fault>) -> bool {
        if fault == Some(Fault::PauseAfter) {
            self.gate.send_replace(Gate::Paused);
        }
        self.wait().await;
        fault == Some(Fault::FailAfter)
    }

    async fn list(
        self: Arc<Self>,
        prefix: Option<Path>,
        offset: Path,
    ) -> Result<BoxStream<'static, Result<ObjectMeta>>> {
        let fault = self.read(Call::List).await?;
        let objects = &self.disk.objects;
        let listed = objects.list_with_offset(prefix.as_ref(), &offset);
        let listed: Result<Vec<ObjectMeta>> = listed.try_collect().await;
        let breaks_off = self.has_read(fault).await;
        let listed = listed?;
        Ok(match breaks_off {
            false => stream::iter(listed.into_iter().map(Ok)).boxed(),
            true => broken_off(listed),
        })
    }

    async fn change(self: &Arc<Self>, change: Change) -> Result<Option<PutResult>> {
        let mut guard = Abandoned {
            core: self,
            change: Some(change),
        };
        let is_put = matches!(guard.change, Some(Change::Put { .. }));
        let fault = self
            .begin(if is_put { Call::Put } else { Call::Delete })
            .await;
        match fault {
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Die) => self.die().await,
            _ => {}
        }
        // From here on the effect cannot be taken back by whoever waits for it.
        let change = guard.change.take().expect("only taken here");
        let path = change.path().clone();
        match fault {
            Some(Fault::Late(calls)) => {
                let due = calls.saturating_add(self.state.lock().calls.len() as u64);
                self.disk.give_up(change, Some((self.number, due)));
                return Err(failure("nobody knows"));
            }
            Some(Fault::Race) if is_put => return Err(exists(&path)),
            Some(Fault::Fail | Fault::Outage | Fault::Race) => {
                return Err(failure("nothing was done"));
            }
            _ => {}
        }
        let done = self.disk.apply(change).await;
        if fault == Some(Fault::PauseAfter) {
            self.gate.send_replace(Gate::Paused);
        }
        self.wait().await;
        let (result, effect) = done?;
        match fault {
            Some(Fault::OwnSuccess) if is_put => Err(exists(&path)),
            Some(fault) if fault != Fault::PauseAfter => Err(failure("it was done")),
            _ => {
                self.disk.acknowledge(effect);
                Ok(result)
            }
        }
    }

    async fn die<T>(&self) -> T {
        self.gate.send_replace(Gate::Dead);
        std::future::pending().await
    }
}

/// A change whose caller may stop waiting for it: it is then under way for ever.
struct Abandoned<'a> {
    core: &'a Core,
    change: Option<Change>,
}

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(change) = self.change.take() {
            self.core.disk.give_up(change, None);
        }
    }
}

fn failure(what: &str) -> Error {
    Error::Generic {
        store: "Faulty",
        source: format!("failed on purpose, {what}").into(),
    }
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists {
        path: path.to_string(),
        source: "failed on purpose".into(),
    }
}

fn not_simulated(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "Faulty".to_owned(),
    }
}

/// The first half of an answer, and then a failure.
fn broken_off<T: Send + 'static>(whole: Vec<T>) -> BoxStream<'static, Result<T>> {
    let half = whole.len() / 2;
    let items = whole.into_iter().take(half).map(Ok);
    stream::iter(items.chain([Err(failure("half was read"))])).boxed()
}

#[async_trait]
impl ObjectStore for Writer {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let put = Change::Put {
            path: location.clone(),
            payload,
            mode: opts.mode,
        };
        let result = self.0.change(put).await?;
        Ok(result.expect("a put has a result"))
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(not_simulated("a put in parts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.0.read(Call::Get).await?;
        let result = self.0.disk.objects.get_opts(location, options).await;
        self.0.disk.was_read(location);
        let breaks_off = self.0.has_read(fault).await;
        let mut result = result?;
        if breaks_off {
            let GetResultPayload::Stream(body) = result.payload else {
                return Err(failure("nothing was read"));
            };
            let chunks: Vec<Bytes> = body.try_collect().await?;
            let halves = chunks.iter().flat_map(|chunk| {
                let half = chunk.len() / 2;
                [chunk.slice(..half), chunk.slice(half..)]
            });
            result.payload = GetResultPayload::Stream(broken_off(halves.collect()));
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fault = self.0.read(Call::Get).await?;
        let result = self.0.disk.objects.get_ranges(location, ranges).await;
        self.0.disk.was_read(location);
        if self.0.has_read(fault).await {
            return Err(failure("half was read"));
        }
        result
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let core = Arc::clone(&self.0);
        locations
            .and_then(move |path| {
                let core = Arc::clone(&core);
                async move {
                    let delete = Change::Delete { path: path.clone() };
                    core.change(delete).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_with_offset(prefix, &Path::default())
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let core = Arc::clone(&self.0);
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        stream::once(async move { core.list(prefix, offset).await })
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(not_simulated("a list of folders"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_simulated("a copy"))
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.0.disk.objects)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
