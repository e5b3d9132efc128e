use super::*;

fn column(recording: &Recording, name: &str) -> Vec<f64> {
    let (_, values) = (recording.columns.iter())
        .find(|(channel, _)| channel.name() == name)
        .expect("a channel of the site");
    values.to_vec()
}

#[test]
fn every_run_makes_the_same() {
    let [first, second] = [(); 2].map(|()| Recording::of(&SITES[0]));
    assert_eq!(first.times, second.times);
    assert_eq!(column(&first, "VA.MAG"), column(&second, "VA.MAG"));
    assert_ne!(column(&first, "VA.ANG"), column(&first, "VB.ANG"));
}

#[test]
fn times_ascend_inside_the_hour_with_gaps() {
    let mut total = 0;
    for site in &SITES {
        let recording = Recording::of(site);
        let times = &recording.times;
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(RANGE.contains(times[0]) && RANGE.contains(times[times.len() - 1]));
        let nominal = SECOND / i64::from(site.rate_hz);
        assert!(
            times
                .windows(2)
                .any(|pair| pair[1] - pair[0] > 3 * nominal / 2),
            "{} lost nothing",
            site.collection
        );
        total += times.len() * site.channels.len();
    }
    assert!((1_000_000..3_000_000).contains(&total), "{total} points");
}

#[test]
fn values_are_floats_as_units_send_them() {
    for site in &SITES {
        for (channel, values) in Recording::of(site).columns {
            assert!(values.iter().all(|&value| f64::from(value as f32) == value));
            if channel.unit() == "deg" {
                assert!(values.iter().all(|value| (-180.0..=180.0).contains(value)));
                let has_wrapped = values
                    .windows(2)
                    .any(|pair| (pair[0] - pair[1]).abs() > 300.0);
                assert!(has_wrapped, "{} {}", site.collection, channel.name());
            }
        }
    }
}

#[test]
fn events_show_where_they_should() {
    let [a, b, c] = [0, 1, 2].map(|site| Recording::of(&SITES[site]));
    let lowest = |recording: &Recording, name: &str| {
        column(recording, name)
            .into_iter()
            .fold(f64::INFINITY, f64::min)
    };
    let nadirs = [&a, &b, &c].map(|recording| lowest(recording, "FREQ"));
    assert!(
        nadirs[0] < nadirs[1] && nadirs[1] < nadirs[2] && nadirs[2] < 59.8,
        "{nadirs:?}"
    );
    assert!(nadirs[0] > 59.6, "{nadirs:?}");
    let nominal = 500_000.0 / 3f64.sqrt();
    assert!(lowest(&a, "VA.MAG") < 0.7 * nominal);
    assert!(lowest(&a, "VB.MAG") > 0.95 * nominal);
}

#[test]
fn uuids_are_stable_and_distinct() {
    let streams = streams();
    let mut ids: Vec<_> = streams.iter().map(|stream| stream.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), streams.len());
    for stream in &streams {
        stream.check().expect("storable");
    }
}
