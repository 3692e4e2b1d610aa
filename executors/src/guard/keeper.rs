//! What a guard decides, without doing it. In: what happened and when (`CLOCK_BOOTTIME` in microseconds). Out: effects to carry
//! out, and the [`State`] to publish. Pure, so that every order of crashes, requests and time-outs can be tried in a test.
//! It must never let a server that is held be started, nor one that was not confirmed closed be ended gently.

use std::time::Duration;

use millrace_schemas::flavour::Flavour;

use super::protocol::{Exit, ExitCause, Hold, Process, Request, Server, State};

/// MySQL's exit code for "start me again".
const RESTART_CODE: i32 = 16;

/// The times that a guard keeps. All but `hold` and `close_within` are fixed; tests change those two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a crashed server is held down for a decision to come: detection, decision and promise take below a second,
    /// and ten times that is still a short outage if nobody decides anything.
    pub hold: Duration,
    /// The longest hold that repeated crashes lead to: five minutes spare the machine, and a server whose cause of crashing
    /// was repaired is back soon enough.
    pub hold_max: Duration,
    /// A server that ran for a minute is not in a crash loop.
    pub stable_after: Duration,
    /// How long closing may take to be confirmed before SIGKILL: a second, since a commit that waits for an acknowledgement
    /// would otherwise keep it open for ever.
    pub close_within: Duration,
    /// How long a closed server may take to stop before SIGKILL: ten times what it takes on a busy machine, and shorter than
    /// the 90 s after which systemd kills the guard. Nothing is lost then, since every commit is synced.
    pub stop_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(10),
            hold_max: Duration::from_mins(5),
            stable_after: Duration::from_mins(1),
            close_within: Duration::from_secs(1),
            stop_within: Duration::from_mins(1),
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The process that [`Effect::Start`] asked for runs.
    Started {
        /// Its id.
        pid: u32,
        /// See [`Process::start_ticks`].
        start_ticks: u64,
    },
    /// It could not be started.
    StartFailed(String),
    /// The process ended; both are `None` when nobody could learn how.
    Exited {
        /// Its exit code.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
    },
    /// The closing that [`Effect::Close`] asked for ended.
    Closed {
        /// The process that was closed: a late answer about an earlier one must not end this one gently.
        pid: u32,
        /// Whether it was confirmed that the server cannot acknowledge a write any more.
        confirmed: bool,
    },
    /// SIGTERM came to the guard.
    Terminate,
    /// Nothing but that time passed.
    Time,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Start the server. Answered by `Started` or `StartFailed`.
    Start,
    /// Close the server. Answered by `Closed`.
    Close,
    /// Send SIGTERM. Only after closing was confirmed.
    Terminate,
    /// Send SIGKILL.
    Kill,
    /// The guard has nothing more to do.
    Leave,
}

/// How far the ending of a server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It is being closed until this time.
    Closing(u64),
    /// It was closed and got SIGTERM; it has until this time.
    Stopping(u64),
    /// It got SIGKILL.
    Killed,
}

/// The state of one instance and the rules by which it changes.
#[derive(Debug, Clone)]
pub struct Keeper {
    state: State,
    flavour: Flavour,
    limits: Limits,
    ending: Option<Ending>,
    /// SIGTERM came: leave when the server is down.
    leaving: bool,
}

impl Keeper {
    /// Goes on from `state`, which an earlier guard may have left. `alive` tells whether the process in it still runs. The
    /// first effects follow from [`Event::Time`].
    pub fn resume(state: State, guard_pid: u32, alive: bool, flavour: Flavour, limits: Limits, now_us: u64) -> Self {
        let mut keeper = Self { state, flavour, limits, ending: None, leaving: false };
        keeper.state.guard_pid = guard_pid;
        match keeper.state.server {
            Server::Down => {
                // The times in it may be of an earlier life of the machine; a crash is held as if it were new.
                if let Some(Hold { epoch: None, .. }) = keeper.state.hold {
                    keeper.hold_after_crash(now_us);
                }
            }
            Server::Running(process) | Server::Ending(process) if alive => {
                keeper.state.server = Server::Running(process);
            }
            Server::Running(_) | Server::Ending(_) => keeper.note_exit(None, None, None, now_us, 0),
        }
        keeper
    }

    /// Everything, as it is now.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// When [`Event::Time`] is next wanted.
    pub fn wake_us(&self) -> Option<u64> {
        let ending = match self.ending {
            Some(Ending::Closing(until) | Ending::Stopping(until)) => Some(until),
            Some(Ending::Killed) | None => None,
        };
        let lapse = self.state.hold.and_then(|hold| hold.lapses_boot_us);
        ending.into_iter().chain(lapse).min()
    }

    /// Takes a request; `Err` says why it is refused, and nothing changed.
    pub fn ask(&mut self, request: Request, now_us: u64) -> Result<Vec<Effect>, String> {
        let Some(epoch) = request.epoch() else { return Ok(Vec::new()) };
        if epoch < self.state.promised {
            return Err(format!("epoch {epoch} is over, epoch {} was promised here", self.state.promised));
        }
        if self.leaving {
            return Err("this guard is ending; ask the next one".into());
        }
        self.state.promised = epoch;
        self.state.serial += 1;
        let held = Hold { epoch: Some(epoch), since_boot_us: now_us, lapses_boot_us: None };
        Ok(match request {
            Request::Start { superseded, .. } => {
                self.state.superseded = superseded;
                self.state.hold = None;
                self.state.keep_running = true;
                self.start_if_due()
            }
            Request::Release { .. } => {
                self.state.hold = None;
                self.start_if_due()
            }
            Request::Stop { .. } => {
                self.state.keep_running = false;
                self.close_if_running(now_us)
            }
            Request::Kill { .. } => {
                self.state.hold = Some(held);
                self.kill()
            }
            Request::Hold { .. } => {
                self.state.hold = Some(held);
                Vec::new()
            }
            Request::State => Vec::new(),
        })
    }

    /// Takes note of what happened at `now_us` (`wall_us` by the wall clock, for people).
    pub fn on(&mut self, event: Event, now_us: u64, wall_us: u64) -> Vec<Effect> {
        if event != Event::Time {
            self.state.serial += 1;
        }
        match event {
            Event::Started { pid, start_ticks } => {
                self.state.starts += 1;
                self.state.superseded = false; // for that start only: a later one may be of a primary again
                self.state.server = Server::Running(Process { pid, start_ticks, since_boot_us: now_us });
                // A hold or a stop may have come while the process was being made.
                if self.leaving || !self.state.keep_running { self.close_if_running(now_us) } else { Vec::new() }
            }
            Event::StartFailed(why) => {
                self.note_exit(None, None, Some(why), now_us, wall_us);
                self.after_exit()
            }
            Event::Exited { code, signal } => {
                self.note_exit(code, signal, None, now_us, wall_us);
                self.after_exit()
            }
            Event::Closed { pid, confirmed } => {
                let current = self.state.server.process().is_some_and(|process| process.pid == pid);
                match self.ending {
                    Some(Ending::Closing(_)) if current && confirmed => {
                        self.ending = Some(Ending::Stopping(after(now_us, self.limits.stop_within)));
                        vec![Effect::Terminate]
                    }
                    Some(Ending::Closing(_)) if current => self.kill(),
                    _ => Vec::new(),
                }
            }
            Event::Terminate => {
                self.leaving = true;
                if self.state.server == Server::Down { vec![Effect::Leave] } else { self.close_if_running(now_us) }
            }
            Event::Time => self.on_time(now_us),
        }
    }

    fn on_time(&mut self, now_us: u64) -> Vec<Effect> {
        if let Some(Ending::Closing(until) | Ending::Stopping(until)) = self.ending
            && until <= now_us
        {
            self.state.serial += 1;
            return self.kill();
        }
        if self.state.hold.and_then(|hold| hold.lapses_boot_us).is_some_and(|lapses| lapses <= now_us) {
            self.state.serial += 1;
            self.state.hold = None;
        }
        self.start_if_due()
    }

    fn start_if_due(&mut self) -> Vec<Effect> {
        let due = self.state.keep_running && self.state.hold.is_none() && !self.leaving;
        if due && self.state.server == Server::Down { vec![Effect::Start] } else { Vec::new() }
    }

    fn close_if_running(&mut self, now_us: u64) -> Vec<Effect> {
        let Server::Running(process) = self.state.server else { return Vec::new() };
        self.state.server = Server::Ending(process);
        self.ending = Some(Ending::Closing(after(now_us, self.limits.close_within)));
        vec![Effect::Close]
    }

    fn kill(&mut self) -> Vec<Effect> {
        let Some(process) = self.state.server.process() else { return Vec::new() };
        self.state.server = Server::Ending(process);
        self.ending = Some(Ending::Killed);
        vec![Effect::Kill]
    }

    fn note_exit(&mut self, code: Option<i32>, signal: Option<i32>, error: Option<String>, now_us: u64, wall_us: u64) {
        let asked = self.ending.take().is_some();
        let cause = match (code, signal) {
            _ if asked => ExitCause::Asked,
            _ if error.is_some() => ExitCause::Crash,
            (None, None) => ExitCause::Unknown,
            (Some(RESTART_CODE), _) if self.flavour == Flavour::MySql => ExitCause::Restart,
            (Some(0), _) => ExitCause::Shutdown,
            _ => ExitCause::Crash,
        };
        let process = self.state.server.process();
        let ran = process.map_or(0, |process| now_us.saturating_sub(process.since_boot_us));
        if u128::from(ran) >= self.limits.stable_after.as_micros() {
            self.state.crashes = 0;
        }
        let pid = process.map_or(0, |process| process.pid);
        self.state.server = Server::Down;
        self.state.last_exit = Some(Exit { pid, code, signal, cause, at_boot_us: now_us, at_wall_us: wall_us, error });
        match cause {
            ExitCause::Crash | ExitCause::Unknown => {
                self.state.crashes = self.state.crashes.saturating_add(1);
                self.hold_after_crash(now_us);
            }
            // Who shut it down knows why; it comes back when somebody says so.
            ExitCause::Shutdown => self.state.keep_running = false,
            ExitCause::Asked | ExitCause::Restart => {}
        }
    }

    /// The hold that gives deciders time. One that an epoch asked for stays as it is.
    fn hold_after_crash(&mut self, now_us: u64) {
        if self.state.hold.is_some_and(|hold| hold.epoch.is_some()) {
            return;
        }
        // 2^16 times any hold exceeds the longest; the bound keeps the arithmetic small.
        let doublings = self.state.crashes.saturating_sub(1).min(16);
        let hold = self.limits.hold.saturating_mul(1 << doublings).min(self.limits.hold_max.max(self.limits.hold));
        let lapses_boot_us = Some(after(now_us, hold));
        self.state.hold = Some(Hold { epoch: None, since_boot_us: now_us, lapses_boot_us });
    }

    fn after_exit(&mut self) -> Vec<Effect> {
        if self.leaving { vec![Effect::Leave] } else { self.start_if_due() }
    }
}

fn after(now_us: u64, wait: Duration) -> u64 {
    now_us.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
