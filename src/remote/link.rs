//! One BTrDB as a place to call: who asks, which server answers, and what is tried again.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Streaming};

use super::calls::{Answer, Info, Streamed, Unary};
use super::failure::{Failure, Outcome, reworded};
use super::patience::{Backoff, Outage, Reason, within};
use super::pool::Pool;
use super::room::{Room, Taken};
use super::settings::Settings;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::wire::proto;

/// How long a server may take to say what it is before it is given up on.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Before a server that declined is asked again.
const DECLINED_PAUSE: Duration = Duration::from_millis(300);

/// Whether a call may be made again after it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Not at all: somebody waits for the bad news.
    Never,
    /// Only if the server did nothing for certain.
    IfUnsent,
    /// Whatever became of it: doing it twice is doing it once.
    Always,
}

impl Repeat {
    fn allows(self, outcome: Outcome) -> bool {
        match self {
            Self::Never => false,
            Self::IfUnsent => matches!(outcome, Outcome::Unsent | Outcome::Declined),
            // Who waited once for an answer does not wait again.
            Self::Always => !matches!(outcome, Outcome::Late | Outcome::Told),
        }
    }
}

/// What a server can do.
#[derive(Clone, Copy, Debug)]
struct Abilities {
    arrow: bool,
}

/// The connections that there are.
#[derive(Debug)]
struct Pools {
    /// Those to the endpoint of the settings.
    home: Arc<Pool>,
    /// Those in use: others once the server has sent us elsewhere.
    current: Arc<Pool>,
}

/// A BTrDB, and whoever asks it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) settings: Settings,
    /// For what has arrived and nobody has taken.
    pub(super) room: Room,
    /// Points of one insert that it took or would take; goes down when it refuses.
    pub(super) insert_points: AtomicUsize,
    authorization: Option<MetadataValue<Ascii>>,
    pools: Mutex<Pools>,
    /// None until asked, and again when it was out of reach: another server may have come back.
    abilities: Mutex<Option<Abilities>>,
    asking: tokio::sync::Mutex<()>,
    random: Mutex<StdRng>,
    outage: Outage,
}

impl Link {
    /// A link over which nothing was sent yet. To be made on a runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for settings that cannot be: an address that is none, a key that cannot be sent, certificates that
    /// cannot be read.
    pub(super) fn new(settings: Settings) -> Result<Self> {
        let authorization = settings.api_key.as_ref().map(|key| -> Result<_> {
            let mut value: MetadataValue<Ascii> = format!("Bearer {key}")
                .parse()
                .map_err(|_| Error::invalid("the API key has characters that no key has"))?;
            value.set_sensitive(true);
            Ok(value)
        });
        let authorization = authorization.transpose()?;
        let home = Arc::new(Pool::new(
            &settings,
            std::slice::from_ref(&settings.endpoint),
        )?);
        Ok(Self {
            room: Room::new(settings.read_ahead_bytes),
            insert_points: AtomicUsize::new(settings.insert_points.max(1)),
            authorization,
            pools: Mutex::new(Pools {
                current: Arc::clone(&home),
                home,
            }),
            abilities: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            random: Mutex::new(StdRng::from_os_rng()),
            outage: Outage::default(),
            settings,
        })
    }

    /// A request with the key.
    pub(super) fn request<T>(&self, ask: T) -> Request<T> {
        let mut request = Request::new(ask);
        if let Some(value) = &self.authorization {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        request
    }

    /// The connections in use.
    pub(super) fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.pools.lock().current)
    }

    /// Whether the calls that answer in Arrow are there. Asks the server once, and again after it was out of reach.
    pub(super) async fn has_arrow(&self) -> Result<bool> {
        Ok(self.settings.arrow && self.abilities(Repeat::Always).await?.arrow)
    }

    /// Asks the server, once, what it is.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if it does not answer, [`ErrorKind::Denied`] for a key that it does not take,
    /// [`ErrorKind::Unsupported`] if it is no BTrDB of a version that is known here.
    pub(super) async fn introduce(&self) -> Result<()> {
        let answered = within(FIRST_ANSWER_MAX, self.abilities(Repeat::Never)).await;
        match answered {
            Some(answered) => answered.map(drop),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "btrdb at {} does not say what it is: waited {FIRST_ANSWER_MAX:?}; is it a BTrDB, and the port of its {} side?",
                    self.settings.endpoint,
                    if self.settings.is_tls(&self.settings.endpoint) {
                        "TLS"
                    } else {
                        "plain"
                    },
                ),
            )),
        }
    }

    async fn abilities(&self, repeat: Repeat) -> Result<Abilities> {
        if let Some(abilities) = *self.abilities.lock() {
            return Ok(abilities);
        }
        // One asks, the others wait for the answer.
        let _turn = self.asking.lock().await;
        if let Some(abilities) = *self.abilities.lock() {
            return Ok(abilities);
        }
        self.learn(repeat).await.map(|(abilities, _)| abilities)
    }

    /// Asks the server what it is, and which endpoints stand for it.
    fn learn(&self, repeat: Repeat) -> BoxFuture<'_, Result<(Abilities, Vec<String>)>> {
        Box::pin(async move {
            let answer = self.ask::<Info>(proto::InfoParams {}, repeat).await;
            let info = answer.map_err(|failure| self.stranger(failure))?;
            let version = (info.major_version, info.minor_version);
            if version.0 < 5 {
                return Err(Error::unsupported(format!(
                    "btrdb at {} is version {}.{} (build \"{}\"): it takes 5 or later",
                    self.settings.endpoint, version.0, version.1, info.build
                )));
            }
            let abilities = Abilities {
                arrow: version >= (5, 30),
            };
            *self.abilities.lock() = Some(abilities);
            let proxies = info.proxy.map(|proxy| proxy.proxy_endpoints);
            Ok((abilities, proxies.unwrap_or_default()))
        })
    }

    /// The error of whoever does not know BTrDB's first call.
    fn stranger(&self, failure: Failure) -> Error {
        match failure.error.kind() {
            // There is somebody, who hung up.
            ErrorKind::Unavailable if failure.outcome == Outcome::Unknown => reworded(
                &failure.error,
                format!(
                    "{} (is it a BTrDB, and does it speak TLS?)",
                    failure.error.message()
                ),
            ),
            ErrorKind::Unsupported | ErrorKind::Internal if failure.error.code().is_none() => {
                Error::unsupported(format!(
                    "what answers at {} is no BTrDB: {}",
                    self.settings.endpoint,
                    failure.error.message()
                ))
            }
            _ => failure.told(),
        }
    }

    /// The answer to a call that has one.
    pub(super) async fn ask<C: Unary>(
        &self,
        ask: C::Ask,
        repeat: Repeat,
    ) -> Result<C::Answer, Failure> {
        let deadline = self.settings.call_deadline;
        let attempt = |pool: &Pool| {
            let (client, endpoint) = pool.client();
            let call = C::call(client, self.request(ask.clone()));
            async move {
                let answer = within(deadline, call)
                    .await
                    .ok_or_else(|| Failure::late(deadline, &endpoint))?;
                let answer = answer.map_err(|status| Failure::of_status(&status, &endpoint))?;
                checked(answer.into_inner(), &endpoint)
            }
        };
        self.attempts(repeat, attempt).await
    }

    /// A call with many answers, up to the first of them.
    pub(super) async fn open<C: Streamed>(
        &self,
        ask: C::Ask,
    ) -> Result<Messages<C::Answer>, Failure> {
        let attempt = |pool: &Pool| {
            let begun = self.begin::<C>(pool, ask.clone());
            async move {
                let mut messages = begun.await?;
                messages.first = messages.read().await?;
                Ok(messages)
            }
        };
        self.attempts(Repeat::Always, attempt).await
    }

    /// All answers to a call with many. It is made again from the start if it breaks off.
    pub(super) async fn collect<C: Streamed>(
        &self,
        ask: C::Ask,
    ) -> Result<Vec<C::Answer>, Failure> {
        let attempt = |pool: &Pool| {
            let begun = self.begin::<C>(pool, ask.clone());
            async move {
                let mut messages = begun.await?;
                let mut all = Vec::new();
                while let Some(message) = messages.read().await? {
                    all.push(message);
                }
                Ok(all)
            }
        };
        self.attempts(Repeat::Always, attempt).await
    }

    fn begin<C: Streamed>(
        &self,
        pool: &Pool,
        ask: C::Ask,
    ) -> impl Future<Output = Result<Messages<C::Answer>, Failure>> + Send + use<C> {
        let (client, endpoint, room) = pool.client_in(&self.room);
        let call = C::call(client, self.request(ask));
        let patience = self.settings.idle_deadline;
        async move {
            let call = within(patience, call)
                .await
                .ok_or_else(|| Failure::late(patience, &endpoint))?;
            let call = call.map_err(|status| Failure::of_status(&status, &endpoint))?;
            Ok(Messages {
                first: None,
                rest: Some((call.into_inner(), room)),
                endpoint,
                patience,
            })
        }
    }

    /// Makes attempts until one succeeds, or another would not help.
    async fn attempts<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        repeat: Repeat,
        attempt: impl Fn(&Pool) -> F,
    ) -> Result<T, Failure> {
        let mut backoff = Backoff::new(&self.settings, &self.random, &self.outage);
        loop {
            let pool = self.pool();
            let failure = match attempt(&pool).await {
                Ok(answer) => {
                    self.outage.is_over();
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            self.note(&failure, &pool);
            let reason = match failure.outcome {
                Outcome::Declined => Reason::Declined(DECLINED_PAUSE),
                _ => Reason::Away,
            };
            if !repeat.allows(failure.outcome) || !backoff.pause(reason).await {
                return Err(self.last_word(failure, backoff.tried()));
            }
            if failure.error.code() != Some(Code::ResourceDepleted)
                && failure.outcome == Outcome::Declined
            {
                self.follow().await;
            }
        }
    }

    /// Learns from a failure of a call over `pool` where not to ask.
    pub(super) fn note(&self, failure: &Failure, pool: &Arc<Pool>) {
        match failure.outcome {
            Outcome::Unsent | Outcome::Unknown => {
                *self.abilities.lock() = None;
                let mut pools = self.pools.lock();
                pools.current = Arc::clone(&pools.home);
            }
            Outcome::Late => self.renew(pool),
            // A call that it said it had: an older one has come in its place.
            Outcome::Told if failure.error.kind() == ErrorKind::Unsupported => {
                *self.abilities.lock() = None;
            }
            Outcome::Declined | Outcome::Told => {}
        }
        if matches!(failure.outcome, Outcome::Declined | Outcome::Told) {
            self.outage.is_over();
        }
    }

    /// Puts other connections in the place of those over which no answer came: who vanished without a word leaves a connection
    /// that looks whole for many minutes.
    fn renew(&self, pool: &Arc<Pool>) {
        let mut pools = self.pools.lock();
        if !Arc::ptr_eq(&pools.current, pool) {
            return;
        }
        match pool.renewed(&self.settings) {
            Ok(renewed) => {
                let renewed = Arc::new(renewed);
                if Arc::ptr_eq(&pools.home, pool) {
                    pools.home = Arc::clone(&renewed);
                }
                pools.current = renewed;
            }
            Err(error) => tracing::warn!(%error, "btrdb cannot be connected to again"),
        }
    }

    /// Goes where the server says that it is to be asked, if it says that.
    async fn follow(&self) {
        match self.learn(Repeat::Never).await {
            Ok((_, endpoints)) if !endpoints.is_empty() => {
                if self.pool().leads_to(&endpoints) {
                    return;
                }
                match Pool::new(&self.settings, &endpoints) {
                    Ok(pool) => self.pools.lock().current = Arc::new(pool),
                    Err(error) => tracing::warn!(%error, "the endpoints that btrdb names are none"),
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "btrdb does not say where it is to be asked"),
        }
    }

    /// The failure that is told, after so many attempts in so long.
    fn last_word(&self, failure: Failure, tried: Option<(u32, Duration)>) -> Failure {
        let error = &failure.error;
        let error = match (error.code(), tried) {
            (Some(code @ Code::WrongEndpoint), _) => Error::unsupported(format!(
                "{}; which node of its cluster is to be asked it does not say",
                error.message()
            ))
            .with_code(code),
            (_, Some((times, time))) => reworded(
                error,
                format!(
                    "{} (asked {times} times in {:.1} s)",
                    error.message(),
                    time.as_secs_f64()
                ),
            ),
            (_, None) => return failure,
        };
        Failure { error, ..failure }
    }
}

/// The messages of one call.
pub(super) struct Messages<A> {
    /// The one that was waited for already.
    first: Option<A>,
    /// Those to come, and the room for them.
    rest: Option<(Streaming<A>, Option<Taken>)>,
    endpoint: Arc<str>,
    patience: Duration,
}

impl<A: Answer> Messages<A> {
    /// The next message; none at the end.
    ///
    /// # Errors
    /// What the server says, [`ErrorKind::Unavailable`] if it falls silent.
    pub(super) async fn next(&mut self) -> Result<Option<A>, Failure> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Option<A>, Failure> {
        let Some((rest, _)) = &mut self.rest else {
            return Ok(None);
        };
        let message = within(self.patience, rest.message())
            .await
            .ok_or_else(|| Failure::late(self.patience, &self.endpoint))?;
        match message.map_err(|status| Failure::of_status(&status, &self.endpoint))? {
            Some(message) => checked(message, &self.endpoint).map(Some),
            None => {
                self.rest = None;
                Ok(None)
            }
        }
    }
}

/// The message, unless it says that something went wrong.
fn checked<A: Answer>(mut message: A, endpoint: &str) -> Result<A, Failure> {
    match message.refusal() {
        Some(stat) if stat.code != 0 => Err(Failure::of_answer(stat, endpoint)),
        _ => Ok(message),
    }
}
