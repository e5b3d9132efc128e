//! What the grid does: frequency, voltage and current as functions of the second of the hour.

use std::f64::consts::TAU;

/// What one stream measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    VoltageMagnitude(Phase),
    VoltageAngle(Phase),
    CurrentMagnitude(Phase),
    CurrentAngle(Phase),
    Frequency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    A,
    B,
    C,
}

impl Phase {
    /// Degrees behind phase A.
    pub(super) fn lag(self) -> f64 {
        match self {
            Self::A => 0.0,
            Self::B => 120.0,
            Self::C => 240.0,
        }
    }
}

impl Channel {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::VoltageMagnitude(Phase::A) => "VA.MAG",
            Self::VoltageMagnitude(Phase::B) => "VB.MAG",
            Self::VoltageMagnitude(Phase::C) => "VC.MAG",
            Self::VoltageAngle(Phase::A) => "VA.ANG",
            Self::VoltageAngle(Phase::B) => "VB.ANG",
            Self::VoltageAngle(Phase::C) => "VC.ANG",
            Self::CurrentMagnitude(Phase::A) => "IA.MAG",
            Self::CurrentMagnitude(Phase::B) => "IB.MAG",
            Self::CurrentMagnitude(Phase::C) => "IC.MAG",
            Self::CurrentAngle(Phase::A) => "IA.ANG",
            Self::CurrentAngle(Phase::B) => "IB.ANG",
            Self::CurrentAngle(Phase::C) => "IC.ANG",
            Self::Frequency => "FREQ",
        }
    }

    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::VoltageMagnitude(_) => "V",
            Self::CurrentMagnitude(_) => "A",
            Self::VoltageAngle(_) | Self::CurrentAngle(_) => "deg",
            Self::Frequency => "Hz",
        }
    }

    /// Empty for what has none.
    pub(super) fn phase(self) -> &'static str {
        match self {
            Self::VoltageMagnitude(phase)
            | Self::VoltageAngle(phase)
            | Self::CurrentMagnitude(phase)
            | Self::CurrentAngle(phase) => match phase {
                Phase::A => "A",
                Phase::B => "B",
                Phase::C => "C",
            },
            Self::Frequency => "",
        }
    }
}

/// How one site takes part in what happens to all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Response {
    /// Of the frequency dip: 1 is nearest to the lost generator.
    pub(super) dip: f64,
    /// Of the oscillation; areas that swing against each other have opposite signs.
    pub(super) swing: f64,
}

/// When the generator is lost.
pub(super) const DIP_AT: f64 = 2470.0;

const SWING_AT: f64 = 2880.0;
const SWING_SECONDS: f64 = 90.0;
const SWING_HZ: f64 = 0.4;

/// Hertz above 60, `t` seconds into the hour, at a site that responds like this.
pub(super) fn frequency_deviation(t: f64, response: Response) -> f64 {
    wander(t) + response.dip * dip(t) + response.swing * swing(t)
}

/// Load and generation never quite balance: some millihertz up and down within minutes.
fn wander(t: f64) -> f64 {
    0.009 * (TAU * t / 1900.0 + 0.4).sin()
        + 0.005 * (TAU * t / 310.0 + 1.9).sin()
        + 0.002 * (TAU * t / 47.0).sin()
}

/// Falls within seconds, rings a little, is caught by governors, and comes back over minutes.
fn dip(t: f64) -> f64 {
    let t = t - DIP_AT;
    if !(0.0..900.0).contains(&t) {
        return 0.0;
    }
    let fall = 1.0 - (-t / 2.8).exp();
    let recovery = (-t / 75.0).exp();
    let ring = 0.05 * (-t / 9.0).exp() * (TAU * 0.25 * t).sin();
    -0.29 * fall * recovery - ring
}

/// Poorly damped, between areas.
fn swing(t: f64) -> f64 {
    let t = t - SWING_AT;
    if !(0.0..SWING_SECONDS).contains(&t) {
        return 0.0;
    }
    // Starts and ends at nothing, so that no step shows.
    let envelope = (t / 4.0).min(1.0) * (-t / 30.0).exp() * ((SWING_SECONDS - t) / 10.0).min(1.0);
    0.02 * envelope * (TAU * SWING_HZ * t).sin()
}

/// A short drop of voltage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sag {
    /// Seconds into the hour.
    pub(super) at: f64,
    pub(super) seconds: f64,
    /// What is left of the voltage.
    pub(super) remaining: f64,
    /// None is all phases.
    pub(super) phase: Option<Phase>,
}

impl Sag {
    fn factor(&self, t: f64, phase: Phase) -> f64 {
        let is_hit = self.phase.is_none_or(|hit| hit == phase);
        if is_hit && (self.at..self.at + self.seconds).contains(&t) {
            self.remaining
        } else {
            1.0
        }
    }
}

/// Voltage over its nominal value.
pub(super) fn voltage(t: f64, phase: Phase, sags: &[Sag]) -> f64 {
    let imbalance = match phase {
        Phase::A => 1.0,
        Phase::B => 0.9965,
        Phase::C => 1.0021,
    };
    // A tap changer moves in steps of 0.625 %.
    let taps = if (1320.0..2100.0).contains(&t) {
        0.00625
    } else {
        0.0
    };
    let drift = 0.004 * (TAU * t / 2600.0 + 0.8).sin();
    let depth: f64 = sags.iter().map(|sag| sag.factor(t, phase)).product();
    imbalance * (1.012 + taps + drift) * depth
}

/// Current over its rated value: load that ramps, with motors that draw more while the voltage is low.
pub(super) fn current(t: f64, voltage: f64) -> f64 {
    let load = 0.55 + 0.08 * (TAU * t / 3600.0).sin() + 0.01 * (TAU * t / 140.0).sin();
    load / voltage.max(0.3)
}

/// Degrees that the current is behind the voltage.
pub(super) fn current_lag(t: f64) -> f64 {
    14.0 + 3.0 * (TAU * t / 2200.0).sin()
}

/// Into (-180, 180], as units send angles.
pub(super) fn wrap(degrees: f64) -> f64 {
    let turned = degrees - 360.0 * (degrees / 360.0).round();
    if turned <= -180.0 {
        turned + 360.0
    } else {
        turned
    }
}
