//! When slow logs are rotated: daily, those of servers that Millrace created, where the configuration says how many to keep. The
//! hands do it. A server that is only observed has no instance here, and so no rotation.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_executors::hands::files::Instance;
use millrace_executors::hands::slow_log::rotated;
use millrace_schemas::metrics::{SLOW_REMOVED, SLOW_ROTATED};
use millrace_schemas::time::Timestamp;

use super::{Agent, stopped};
use crate::roles::speaker::now;

/// 1 min between looks at the calendar; a rotation that could not be done is tried again as often.
const LOOK_EVERY: Duration = Duration::from_mins(1);
const DAY: i64 = 86_400_000_000;
/// `2026-11-30` of `2026-11-30T...`.
const DAY_BYTES: usize = 10;

/// Rotates the log of an instance until the agent stops.
pub(super) async fn run(agent: Arc<Agent>, instance: Instance, keep: u32) {
    let mut stop = agent.stop.clone();
    let mut told = None;
    loop {
        let at = now();
        if is_due(&instance, at) {
            match rotate(&agent, &instance, at, keep).await {
                Ok(()) => told = None,
                Err(error) => {
                    if told.as_ref() != Some(&error) {
                        tracing::warn!(instance = %instance.instance, %error, "the slow log is not rotated yet");
                    }
                    told = Some(error);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stopped(&mut stop) => return,
        }
    }
}

async fn rotate(agent: &Agent, instance: &Instance, at: Timestamp, keep: u32) -> Result<(), String> {
    let Some(hands) = &agent.hands else { return Ok(()) };
    let done = hands.rotate_slow_log(instance, &day(at), keep as usize).await.map_err(|error| error.to_string())?;
    let name = instance.instance.as_str();
    agent.metrics.add(&SLOW_REMOVED, &[name], done.removed);
    if let Some(to) = done.to {
        agent.metrics.add(&SLOW_ROTATED, &[name], 1);
        tracing::info!(instance = %instance.instance, to = %to.display(), removed = done.removed, "slow log rotated");
    }
    Ok(())
}

/// The day in UTC.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(DAY_BYTES).collect()
}

/// Whether the log was begun on a day before that of `at` and was not rotated on that; or was renamed and not opened anew.
fn is_due(instance: &Instance, at: Timestamp) -> bool {
    let was_rotated = rotated(instance, &day(at)).exists();
    match fs::metadata(instance.slow_log()) {
        Ok(log) => !was_rotated && is_of_an_earlier_day(log.created().ok(), at),
        Err(_) => was_rotated,
    }
}

/// A file system that does not say when a file was made is no reason to let it grow.
fn is_of_an_earlier_day(created: Option<SystemTime>, at: Timestamp) -> bool {
    let midnight = at.0 - at.0.rem_euclid(DAY);
    let since = created.and_then(|created| created.duration_since(UNIX_EPOCH).ok());
    since.is_none_or(|since| i64::try_from(since.as_micros()).is_ok_and(|created| created < midnight))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_rotated_on_the_day_after_it_was_begun() {
        let midnight = Timestamp(1_700_006_400_000_000); // 2023-11-15T00:00:00Z
        assert_eq!((day(midnight).as_str(), midnight.0 % DAY), ("2023-11-15", 0));
        let at = |us: i64| Some(UNIX_EPOCH + Duration::from_micros(us.unsigned_abs()));
        let check = |created, now, expected| {
            assert_eq!(is_of_an_earlier_day(created, Timestamp(now)), expected, "{created:?} {now}");
        };
        check(at(midnight.0 - 1), midnight.0, true);
        check(at(midnight.0 - 1), midnight.0 - 1, false);
        check(at(midnight.0), midnight.0 + DAY - 1, false);
        check(at(midnight.0), midnight.0 + DAY, true);
        check(None, midnight.0, true);
    }
}
