//! The load of the window benchmarks: what agents count on servers that run 5,000 statements a second of 200 digests. How often
//! a digest runs falls with its rank, as in applications; response times spread as those of one statement do. Made from a seed,
//! so that every run reads the same bytes.

use millrace_schemas::ids::{DigestId, InstanceId};
use millrace_schemas::sketch::Sketch;
use millrace_schemas::topics::queries::{Row, Source};

/// 200 digests in a second of an instance: a busy application.
pub(crate) const DIGESTS: usize = 200;
/// 5,000 statements a second on each instance, which the wire decoder has to keep up with too.
const STATEMENTS: f64 = 5_000.0;
/// Seconds that differ from each other; then they repeat. 16: more than the ten of a window.
const SECONDS: u64 = 16;

/// What one instance counts: [`SECONDS`] different seconds, repeated.
pub(crate) struct Load {
    seconds: Vec<Vec<Row>>,
}

impl Load {
    /// The same for the same `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        Self { seconds: (0..SECONDS).map(|_| second(&mut dice)).collect() }
    }

    /// The rows that `instance` counts in `second`.
    pub(crate) fn rows(&self, instance: &InstanceId, second: i64) -> Vec<Row> {
        let at = (second.rem_euclid(SECONDS as i64)) as usize;
        let of_it = |row: &Row| Row { second, instance: instance.clone(), ..row.clone() };
        self.seconds[at].iter().map(of_it).collect()
    }
}

/// One second of all digests: the first runs most often, and each is run at least once.
fn second(dice: &mut Dice) -> Vec<Row> {
    let all: f64 = (1..=DIGESTS).map(|rank| 1.0 / rank as f64).sum();
    (0..DIGESTS).map(|at| row(at, (STATEMENTS / all / (at + 1) as f64) as u64 + 1, dice)).collect()
}

fn row(at: usize, count: u64, dice: &mut Dice) -> Row {
    // Digests are as fast as the tables that they touch: from 0.2 ms to 40 ms.
    let usual = 200.0 * (1.0 + (at * 37 % DIGESTS) as f64);
    let times: Vec<u64> = (0..count).map(|_| (usual * dice.spread()) as u64).collect();
    let (mut rt_first, mut rt_last) = (Sketch::new(), Sketch::new());
    for time in &times {
        rt_first.add(time * 9 / 10);
        rt_last.add(*time);
    }
    let digest = u128::from(dice_of(at as u64)) << 64 | u128::from(dice_of(!(at as u64)));
    Row {
        second: 0,
        instance: InstanceId::parse("any").expect("legal"),
        schema: ["shop", "billing", "search"][at % 3].to_owned(),
        user: ["app", "batch"][at % 2].to_owned(),
        digest: DigestId(digest.to_be_bytes()),
        source: Source::Wire,
        sample_factor: 1,
        count,
        errors: count / 500,
        rows_sent: count * 3,
        rows_affected: count / 4,
        rows_examined: None,
        lock_us: None,
        bytes_in: count * 180,
        bytes_out: count * 900,
        rt_sum_us: times.iter().sum(),
        rt_min_us: times.iter().min().copied().unwrap_or(0),
        rt_max_us: times.iter().max().copied().unwrap_or(0),
        rt_first,
        rt_last,
        folded: 0,
        killed: None,
        timed_out: None,
    }
}

/// Numbers that look like chance and are none (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        dice_of(self.0)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Around 1, log-normal: half lie between 0.7 and 1.4, one in a hundred takes thrice as long.
    fn spread(&mut self) -> f64 {
        // A sum of twelve is as good as normal.
        let normal = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
        (normal / 2.0).exp()
    }
}

fn dice_of(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
