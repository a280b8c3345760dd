use super::*;

fn at(seconds: i64) -> Option<UnixNanos> {
    UnixNanos::from_seconds(seconds)
}

/// How long after the one before each line is due.
fn pauses(speed: Speed, times: &[Option<UnixNanos>]) -> Vec<Duration> {
    let start = Instant::now();
    let mut pace = Pace::new(speed);
    let mut before = start;
    let step = |time: &Option<UnixNanos>| {
        let due = pace.due(*time, start).unwrap();
        let pause = due - before;
        before = due;
        pause
    };
    times.iter().map(step).collect()
}

fn seconds(list: &[u64]) -> Vec<Duration> {
    list.iter().map(|seconds| Duration::from_secs(*seconds)).collect()
}

#[tokio::test]
async fn recorded_pauses_are_kept_up_to_two_seconds() {
    let three_years = 94_608_000;
    let times = [at(0), at(1), at(1), at(3), at(three_years), at(three_years + 1)];
    assert_eq!(pauses(Speed::Factor(1.0), &times), seconds(&[0, 1, 0, 2, 2, 1]));
    assert_eq!(pauses(Speed::Factor(0.5), &times), seconds(&[0, 2, 0, 4, 4, 2]));
    assert_eq!(pauses(Speed::Factor(1_000.0), &times)[1], Duration::from_millis(1));
    assert_eq!(Pace::new(Speed::Max).due(at(5), Instant::now()), None);
}

#[tokio::test]
async fn times_of_products_interleave_and_lines_without_time_follow_at_once() {
    let times = [at(100), None, at(99), at(101), at(100), at(102)];
    assert_eq!(pauses(Speed::Factor(1.0), &times), seconds(&[0, 0, 0, 1, 0, 1]));
}

#[tokio::test]
async fn one_time_in_the_far_future_does_not_end_the_pacing() {
    let times = [at(100), at(900_000), at(101), at(102), at(103)];
    assert_eq!(pauses(Speed::Factor(1.0), &times), seconds(&[0, 2, 0, 1, 1]));
}
