//! Three units: where they are, what they send, and what goes wrong on the way.

use super::random::Random;
use super::signal::{self, Channel, Phase, Response, Sag};
use super::{SECOND, START};

/// A substation with one measurement unit.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) collection: &'static str,
    pub(super) rate_hz: u32,
    pub(super) nominal_kv: u32,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    pub(super) channels: &'static [Channel],
    /// Amperes.
    rated_current: f64,
    /// Degrees at the beginning of the hour.
    angle: f64,
    response: Response,
    sags: &'static [Sag],
    /// Seconds into the hour during which frames arrive.
    alive: &'static [(u32, u32)],
    /// One frame in so many is lost.
    loss: u64,
    seed: u64,
}

/// All of them.
pub(super) static SITES: [Site; 3] = [
    Site {
        collection: "demo/substation_a/pmu_1",
        rate_hz: 30,
        nominal_kv: 500,
        latitude: 45.5946,
        longitude: -121.1787,
        channels: &[
            Channel::VoltageMagnitude(Phase::A),
            Channel::VoltageMagnitude(Phase::B),
            Channel::VoltageMagnitude(Phase::C),
            Channel::VoltageAngle(Phase::A),
            Channel::VoltageAngle(Phase::B),
            Channel::VoltageAngle(Phase::C),
            Channel::CurrentMagnitude(Phase::A),
            Channel::CurrentAngle(Phase::A),
            Channel::Frequency,
        ],
        rated_current: 1800.0,
        angle: 12.0,
        response: Response {
            dip: 1.0,
            swing: 1.0,
        },
        sags: &[Sag {
            at: 750.0,
            seconds: 0.15,
            remaining: 0.62,
            phase: Some(Phase::A),
        }],
        alive: &[(0, 3600)],
        loss: 4000,
        seed: 0xA1,
    },
    Site {
        collection: "demo/substation_b/pmu_1",
        rate_hz: 60,
        nominal_kv: 345,
        latitude: 40.6331,
        longitude: -111.9882,
        channels: &[
            Channel::VoltageMagnitude(Phase::A),
            Channel::VoltageAngle(Phase::A),
            Channel::CurrentMagnitude(Phase::A),
            Channel::CurrentAngle(Phase::A),
            Channel::Frequency,
        ],
        rated_current: 1200.0,
        angle: -9.0,
        response: Response {
            dip: 0.93,
            swing: 0.6,
        },
        sags: &[Sag {
            at: 750.0,
            seconds: 0.15,
            remaining: 0.88,
            phase: Some(Phase::A),
        }],
        alive: &[(0, 1020), (1140, 3600)],
        loss: 1500,
        seed: 0xB2,
    },
    Site {
        collection: "demo/substation_c/pmu_1",
        rate_hz: 120,
        nominal_kv: 230,
        latitude: 34.3120,
        longitude: -118.4810,
        channels: &[
            Channel::VoltageMagnitude(Phase::A),
            Channel::VoltageAngle(Phase::A),
            Channel::Frequency,
        ],
        rated_current: 900.0,
        angle: -31.0,
        response: Response {
            dip: 0.86,
            swing: -0.8,
        },
        sags: &[Sag {
            at: 3320.0,
            seconds: 0.08,
            remaining: 0.71,
            phase: None,
        }],
        alive: &[(1800, 3600)],
        loss: 9000,
        seed: 0xC3,
    },
];

/// One message of a unit.
pub(super) struct Frame {
    /// When it says it was measured.
    pub(super) stamp: i64,
    /// Seconds into the hour.
    t: f64,
    /// Hertz above 60.
    deviation: f64,
    /// Degrees that the site has turned against 60 Hz since the beginning of the hour, not wrapped.
    turned: f64,
}

impl Site {
    /// The frames that arrived, ascending.
    pub(super) fn frames(&self) -> Vec<Frame> {
        let mut random = Random::new(self.seed);
        let step = 1.0 / f64::from(self.rate_hz);
        let count = 3600 * i64::from(self.rate_hz);
        let mut frames = Vec::with_capacity(count as usize);
        let mut turned = 0.0;
        for number in 0..count {
            let t = number as f64 * step;
            let deviation = signal::frequency_deviation(t, self.response);
            turned += 360.0 * deviation * step;
            // The sum of two dice: most stamps are within 200 ns, all within 400 ns of the true time.
            let jitter = (random.below(401) + random.below(401)) as i64 - 400;
            let is_lost = random.below(self.loss) == 0;
            let is_alive = (self.alive.iter())
                .any(|&(from, to)| (f64::from(from)..f64::from(to)).contains(&t));
            if is_alive && !is_lost {
                // The very first frame must not be stamped before the hour.
                let offset = number * SECOND / i64::from(self.rate_hz) + jitter;
                frames.push(Frame {
                    stamp: START + offset.max(0),
                    t,
                    deviation,
                    turned,
                });
            }
        }
        frames
    }

    /// What `channel` says in each frame, no finer than a 32-bit float.
    pub(super) fn values(&self, channel: Channel, frames: &[Frame]) -> Vec<f64> {
        let name = channel.name().bytes();
        let seed = name.fold(self.seed, |seed, byte| seed * 257 + u64::from(byte));
        let mut random = Random::new(seed);
        frames
            .iter()
            .map(|frame| self.value(channel, frame, random.normal()))
            .map(|value| f64::from(value as f32))
            .collect()
    }

    fn value(&self, channel: Channel, frame: &Frame, noise: f64) -> f64 {
        let t = frame.t;
        let volts = |phase| signal::voltage(t, phase, self.sags);
        match channel {
            Channel::VoltageMagnitude(phase) => {
                let line_to_ground = f64::from(self.nominal_kv) * 1000.0 / 3f64.sqrt();
                line_to_ground * (volts(phase) + 0.000_08 * noise)
            }
            Channel::VoltageAngle(phase) => {
                signal::wrap(self.angle + frame.turned - phase.lag() + 0.006 * noise)
            }
            Channel::CurrentMagnitude(phase) => {
                self.rated_current * (signal::current(t, volts(phase)) + 0.000_4 * noise)
            }
            Channel::CurrentAngle(phase) => signal::wrap(
                self.angle + frame.turned - phase.lag() - signal::current_lag(t) + 0.05 * noise,
            ),
            Channel::Frequency => 60.0 + frame.deviation + 0.000_6 * noise,
        }
    }
}
