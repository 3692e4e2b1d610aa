//! The two writes by which a primary shows that it can write: the heartbeat row, whose age on replicas is the true delay, and
//! the canary, a new connection each time. Both touch Millrace's own schema only, as an account that read-only stops.
//! Writes pile up behind an unacknowledged commit, so at most one of each is outstanding, however long it hangs; one more
//! canary is sent after an acknowledger returned, because that write is what sets a wedged commit free.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millrace_mysql::{Error, Session, Target};
use millrace_schemas::ids::{ClusterId, Epoch};
use millrace_schemas::topics::journal::Canary;

use crate::log_in::LogIn;

/// An hour: an outstanding write is left alone. To give it up would not take it back, and the next one would pile up on it.
const OUTSTANDING_WITHIN: Duration = Duration::from_hours(1);
/// 200 ms after an acknowledger returned: it has announced itself by then.
const FREE_AFTER: Duration = Duration::from_millis(200);

/// 10 ms to the second look, then twice that each time, up to 160 ms: five looks at the most.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const LOOK_UNTIL: Duration = Duration::from_millis(160);
/// 1.5 s: a row that old is not late by a moment.
const SECONDS_BEHIND_US: i64 = 1_500_000;

/// Writes the pulse of one instance.
#[derive(Debug)]
pub struct Pulse {
    log_in: Arc<LogIn>,
    cluster: ClusterId,
    heartbeat: Arc<Mutex<Slot>>,
    canary: Arc<Mutex<Slot>>,
    acknowledgers: u32,
}

/// One kind of write: whether one is outstanding, and how the last one ended.
#[derive(Debug, Default)]
struct Slot {
    outstanding: Option<Instant>,
    last: Option<Result<Duration, String>>,
    session: Option<Session>,
    number: u64,
}

fn locked(slot: &Mutex<Slot>) -> std::sync::MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pulse {
    /// For an instance of `cluster`. The account needs to write to Millrace's schema and must not pass read-only.
    pub fn new(mut target: Target, cluster: ClusterId) -> Self {
        target.answer_within = OUTSTANDING_WITHIN;
        let log_in = Arc::new(LogIn::new(target));
        Self { log_in, cluster, heartbeat: Arc::default(), canary: Arc::default(), acknowledgers: 0 }
    }

    /// One beat: starts the writes that are due and says how the canary is. Never waits.
    pub fn beat(&mut self, epoch: Epoch, acknowledgers: u32) -> Canary {
        let returned = acknowledgers > self.acknowledgers;
        self.acknowledgers = acknowledgers;
        self.start(&self.heartbeat, Write::Heartbeat(epoch), Duration::ZERO);
        self.start(&self.canary, Write::Canary, Duration::ZERO);
        if returned && locked(&self.canary).outstanding.is_some() {
            let (log_in, cluster) = (Arc::clone(&self.log_in), self.cluster.clone());
            tokio::spawn(async move {
                tokio::time::sleep(FREE_AFTER).await;
                if let Err(error) = write(&log_in, &cluster, Write::Canary, 0, &mut None).await {
                    tracing::debug!(%error, "the freeing canary did not get through");
                }
            });
        }
        self.canary()
    }

    /// How the canary is.
    pub fn canary(&self) -> Canary {
        let slot = locked(&self.canary);
        match (slot.outstanding, &slot.last) {
            (Some(since), _) if since.elapsed() >= Duration::from_millis(500) => {
                Canary::Waiting { since_us: since.elapsed().as_micros() as u64 }
            }
            (_, Some(Ok(took))) => Canary::Written { took_us: took.as_micros() as u64 },
            (_, Some(Err(error))) => Canary::Failed { error: error.chars().take(200).collect() },
            (_, None) => Canary::Off,
        }
    }

    fn start(&self, slot: &Arc<Mutex<Slot>>, what: Write, after: Duration) {
        let (number, mut session) = {
            let mut slot = locked(slot);
            if slot.outstanding.is_some() {
                return;
            }
            slot.outstanding = Some(Instant::now());
            slot.number += 1;
            // The canary comes on a new connection each time: a full server shows.
            (slot.number, slot.session.take().filter(|_| matches!(what, Write::Heartbeat(_))))
        };
        let (slot, log_in, cluster) = (Arc::clone(slot), Arc::clone(&self.log_in), self.cluster.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let began = Instant::now();
            let outcome = write(&log_in, &cluster, what, number, &mut session).await;
            let mut slot = locked(&slot);
            slot.outstanding = None;
            let outcome =
                outcome.map(|()| began.elapsed()).map_err(|error| (error.is_credentials(), error.to_string()));
            if let Err((true, error)) = &outcome
                && !matches!(&slot.last, Some(Err(told)) if told == error)
            {
                tracing::warn!("{error}; the {what} is tried again less and less often, until the file changes");
            }
            slot.last = Some(outcome.map_err(|(_, error)| error));
            slot.session = session.filter(Session::is_usable);
        });
    }
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Heartbeat(Epoch),
    Canary,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Canary) { "canary" } else { "heartbeat row" })
    }
}

async fn write(
    log_in: &LogIn,
    cluster: &ClusterId,
    what: Write,
    number: u64,
    kept: &mut Option<Session>,
) -> Result<(), Error> {
    let mut session = match kept.take() {
        Some(session) => session,
        None => log_in.open().await?,
    };
    // One row per cluster: whoever is the primary next overwrites it, so that a row that nobody acknowledged does not stay.
    let statement = match what {
        Write::Heartbeat(epoch) => format!(
            "REPLACE INTO millrace.heartbeat(instance, at_us, seq, epoch) VALUES('{cluster}', {}, {number}, {epoch})",
            wall_us()
        ),
        Write::Canary => format!("REPLACE INTO millrace.canary(id, at_us) VALUES(1, {})", wall_us()),
    };
    session.execute(&statement).await?;
    if matches!(what, Write::Heartbeat(_)) {
        *kept = Some(session);
    } else {
        session.close().await;
    }
    Ok(())
}

/// How far a replica is behind, in microseconds, by the heartbeat row. A primary writes one at the beginning of each second of
/// the wall clock; the replica is asked until the row of this second is there, at most 300 ms, so a healthy delay is
/// exact to some 10 ms and one of seconds needs no second look. It compares wall clocks: hosts need NTP, and a clock that is
/// behind shows zero. `None` when there is no row yet.
pub async fn delay_us(session: &mut Session, cluster: &ClusterId) -> Result<Option<u64>, Error> {
    let statement = format!("SELECT at_us FROM millrace.heartbeat WHERE instance = '{cluster}'");
    let this_second = wall_us() / 1_000_000 * 1_000_000;
    let mut wait = LOOK_AGAIN;
    loop {
        let at: Option<i64> = session.value(&statement).await?.and_then(|text| text.parse().ok());
        let Some(at) = at else { return Ok(None) };
        let age = wall_us() - at;
        if at >= this_second || age > SECONDS_BEHIND_US || wait > LOOK_UNTIL {
            return Ok(Some(u64::try_from(age).unwrap_or(0)));
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}

fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
