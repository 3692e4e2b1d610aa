//! An instance with its guard, for one test. In: a flavour. Out: the pieces of the product that look after it, and the means to
//! disturb them. Nothing is left behind: dropping it kills the guard, its server, and removes the folder.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use millrace_executors::guard::{Exit, GuardClient, State};
use millrace_executors::hands::files::{Instance, NewInstance, create_instance};
use millrace_executors::hands::process::Process;
use millrace_mysql::{Flavour, Session, Target};
use millrace_schemas::ids::{ClusterId, Epoch, InstanceId};
use millrace_test_servers::{Port, free_port, template_of};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Says to the test program that it is to be the guard of this folder.
pub(crate) const GUARD_DIR: &str = "MILLRACE_TEST_GUARD_DIR";

/// 3 minutes: everything here takes a second or two, but the tests may have to share starved cores. Only a failure takes so long.
pub(crate) const WITHIN: Duration = Duration::from_mins(3);

/// The times that a test's guard keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// How long a crashed server is held down.
    pub(crate) hold: Duration,
    /// How long closing may go unconfirmed before SIGKILL.
    pub(crate) close: Duration,
}

impl Default for Times {
    /// What no test outlives: a hold does not lapse while a test is looking at it, and a server that can be closed is not killed
    /// because its three logins were late.
    fn default() -> Self {
        Self { hold: Duration::from_mins(10), close: Duration::from_mins(1) }
    }
}

pub(crate) struct Place {
    pub(crate) instance: Instance,
    pub(crate) process: Process,
    pub(crate) program: PathBuf,
    _port: Port,
    _folder: TempDir,
}

impl Place {
    /// Makes an instance, starts a guard, and starts the server closed in epoch 1.
    pub(crate) async fn start(flavour: Flavour) -> Self {
        Self::start_with(flavour, Times::default()).await
    }

    /// The same, with other times.
    pub(crate) async fn start_with(flavour: Flavour, times: Times) -> Self {
        let place = Self::make_with(flavour, times).await;
        place.process.start_closed(Epoch(1), false, WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
        place
    }

    /// Makes an instance and starts a guard.
    pub(crate) async fn make(flavour: Flavour) -> Self {
        Self::make_with(flavour, Times::default()).await
    }

    /// The same, with other times.
    pub(crate) async fn make_with(flavour: Flavour, times: Times) -> Self {
        let folder = tempfile::Builder::new().prefix("millrace-guard-").tempdir().unwrap();
        let template = template_of(flavour);
        let port = free_port();
        let new = NewInstance {
            instance: InstanceId::parse("a-1").unwrap(),
            cluster: ClusterId::parse("shop").unwrap(),
            flavour,
            address: "127.0.0.1".into(),
            port: port.number,
            server_id: u32::from(port.number),
            acknowledger: true,
            hold_ms: Some(times.hold.as_millis().try_into().unwrap()),
            close_ms: Some(times.close.as_millis().try_into().unwrap()),
        };
        let instance = create_instance(&folder.path().join("a-1"), &template, &new).unwrap();
        let program = folder.path().join("millrace");
        let this = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\n{GUARD_DIR}=\"$3\" exec {} --exact become_a_guard --nocapture --test-threads=1\n",
            this.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let process = Process::ensure_guard(&program, &instance).await.unwrap_or_else(|error| panic!("{error}"));
        Self { instance, process, program, _port: port, _folder: folder }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.instance.dir
    }

    /// A client of the guard beside the one of `process`.
    pub(crate) fn client(&self) -> GuardClient {
        GuardClient::connect(self.dir())
    }

    /// Waits until a guard answers `client`.
    pub(crate) async fn ready(client: &GuardClient) -> State {
        client.ready_within(WITHIN).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn state(&self) -> State {
        self.process.guard().state().expect("the guard answers")
    }

    pub(crate) fn server_pid(&self) -> u32 {
        self.state().server.process().expect("the server runs").pid
    }

    pub(crate) fn guard_pid(&self) -> u32 {
        self.state().guard_pid
    }

    pub(crate) async fn session(&self) -> Session {
        Self::login(self.instance.target()).await
    }

    /// A session of the application, over TCP.
    pub(crate) async fn application(&self) -> Session {
        Self::login(self.instance.target_over_tcp(&self.instance.accounts.application)).await
    }

    /// As patient as the tests are: the product's limits tell a server that hangs from one that is healthy, not from one that starves.
    async fn login(target: Target) -> Session {
        let target = Target { connect_within: WITHIN, answer_within: WITHIN, ..target };
        Session::open(&target).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn run(&self, statements: &[&str]) {
        let mut session = self.session().await;
        for statement in statements {
            session.execute(statement).await.unwrap_or_else(|error| panic!("{error}"));
        }
        session.close().await;
    }

    /// Waits until the guard's state is so.
    pub(crate) async fn until(&self, what: &str, so: impl Fn(&State) -> bool) -> State {
        let mut states = self.process.guard().states();
        let reached = tokio::time::timeout(WITHIN, states.wait_for(|state| state.as_ref().is_some_and(&so))).await;
        match reached {
            Ok(Ok(state)) => state.clone().expect("the state was just looked at"),
            _ => panic!("waited {WITHIN:?} in vain for: {what}; the state is {:?}", self.process.guard().state()),
        }
    }

    /// Waits until the process `pid` of the server has ended, and says how. The server may have been started again by then.
    pub(crate) async fn exit(&self, pid: u32) -> Exit {
        let ended = |state: &State| state.last_exit.as_ref().is_some_and(|exit| exit.pid == pid);
        let state = self.until("the server ends", ended).await;
        state.last_exit.expect("the exit was just looked at")
    }

    /// Waits until a process other than `before` runs and answers, and sees that it is closed.
    pub(crate) async fn closed_after(&self, before: u32) {
        self.until("the server is started again", |state| {
            state.server.process().is_some_and(|process| process.pid != before)
        })
        .await;
        let epoch = self.state().promised;
        self.process.start_closed(epoch, false, WITHIN).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The guard first, or it would start the server again.
        let state = std::fs::read(self.dir().join("guard.state")).unwrap_or_default();
        let state: State = serde_json::from_slice(&state).unwrap_or_default();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir().join("guard.log")).unwrap_or_default();
            eprintln!("last state: {state:?}\nguard's log:\n{log}");
        }
        for pid in [Some(state.guard_pid), state.server.process().map(|process| process.pid)].into_iter().flatten() {
            // Only what still works in this test's folder: an id may be another process's by now.
            let folder = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let ours = self.dir().as_os_str().as_encoded_bytes();
            if [folder, environment].iter().any(|text| text.windows(ours.len()).any(|part| part == ours)) {
                send(pid, Signal::KILL);
                // What it still writes while it dies would keep the folder from being removed.
                let start = Instant::now();
                while start.elapsed() < WITHIN && is_alive(pid) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

pub(crate) fn send(pid: u32, signal: Signal) {
    // It may have ended already.
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}
