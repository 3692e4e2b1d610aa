//! Where the time goes between an exit and its action: what is decided makes three trips over the journal and one over `actions`,
//! and the broker stamps each record when it takes it.

use std::collections::BTreeMap;

use millrace::bus::{Assignment, From, Polled};
use millrace_schemas::cluster::Process;
use millrace_schemas::event::Event;
use millrace_schemas::ids::ClusterId;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::Fact;

use crate::place::Place;
use crate::quantile;

/// 5 of the slowest are printed one by one.
const SLOWEST: usize = 5;

/// What ends each leg of the way.
const LEGS: [&str; 5] = ["exit told", "permit asked", "answered", "action", "read"];

/// The ways of all exits.
#[derive(Default)]
pub(crate) struct Trips(Vec<Trip>);

struct Trip {
    cluster: ClusterId,
    began: Timestamp,
    /// When each of [`LEGS`] was reached; what is not known is as the one before.
    reached: [Option<Timestamp>; LEGS.len()],
}

impl Trips {
    /// An exit that was told at `began`; its action was appended and read when it is said.
    pub(crate) fn add(&mut self, cluster: &ClusterId, began: Timestamp, action: Timestamp, read: Timestamp) {
        let reached = [None, None, None, Some(action), Some(read)];
        self.0.push(Trip { cluster: cluster.clone(), began, reached });
    }

    /// Looks the legs up in the journal, which is read from `from` up to now, and prints how long each took.
    pub(crate) fn tell(mut self, place: &Place, from: BTreeMap<u32, u64>) {
        self.look_up(place, from);
        let mut legs: [Vec<f64>; LEGS.len()] = Default::default();
        self.0.iter().for_each(|trip| legs.iter_mut().zip(trip.took()).for_each(|(all, took)| all.push(took)));
        println!("fleet: leg          median   p90   p99    at most (ms)");
        for (leg, mut took) in LEGS.into_iter().zip(legs) {
            took.sort_by(f64::total_cmp);
            let [median, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|q| quantile(&took, q));
            println!("fleet: {leg:<12} {median:>6.0} {p90:>5.0} {p99:>5.0} {most:>10.0}");
        }
        self.0.sort_by_key(|trip| std::cmp::Reverse(trip.reached[LEGS.len() - 1].map(|read| read.0 - trip.began.0)));
        for trip in self.0.iter().take(SLOWEST) {
            let took = trip.took().map(|took| format!("{took:.0}")).join(" + ");
            println!("fleet: slow: {} at {}: {took} ms", trip.cluster, trip.began);
        }
    }

    fn look_up(&mut self, place: &Place, from: BTreeMap<u32, u64>) {
        let bus = place.bus("trips");
        let mut left: BTreeMap<u32, u64> = (0..).zip(bus.ends(Topic::Journal).expect("the ends")).collect();
        left.retain(|at, end| from[at] < *end);
        let mut reader = bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Offsets(from))])).expect("a reader");
        while !left.is_empty() {
            for item in reader.poll(std::time::Duration::from_secs(1)).expect("readable") {
                let Polled::Record(record) = item else { continue };
                left.retain(|at, end| *at != record.partition || record.offset + 1 < *end);
                let Ok(event) = Event::<Fact>::from_record(&record) else { continue };
                let (leg, cluster) = match &event.payload {
                    Fact::ProcessChanged(changed) if matches!(changed.process, Process::Exited { .. }) => {
                        (0, &event.subject.cluster)
                    }
                    Fact::PermitAsked(asked) => (1, &asked.cluster),
                    Fact::PermitAnswered(answer) if answer.granted => (2, &event.subject.cluster),
                    _ => continue,
                };
                if let Some(trip) = self.0.iter_mut().find(|trip| trip.cluster == *cluster) {
                    trip.reached[leg].get_or_insert(record.appended);
                }
            }
        }
    }
}

impl Trip {
    /// Milliseconds of each leg. The broker's clock has whole ones, so that a leg of less may be one too short.
    fn took(&self) -> [f64; LEGS.len()] {
        let mut last = self.began;
        self.reached.map(|reached| {
            let reached = reached.unwrap_or(last).max(last);
            let took = (reached.0 - last.0) as f64 / 1e3;
            last = reached;
            took
        })
    }
}
